"""The answer that is a file: however slowly it is fetched, little of it is in memory."""

import asyncio
from typing import IO, Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from rke2_units.join_api.connection import UNFETCHED


class FileAnswer(web.FileResponse):
    """aiohttp's, with its ranges and dates, sent piece by piece through the connection.

    asyncio's sendfile, which aiohttp takes, has 16 KB three times over for each, and the connection does not
    learn from it that something was fetched.
    """

    async def _sendfile(
        self, request: web.BaseRequest, fobj: IO[Any], offset: int, count: int
    ) -> AbstractStreamWriter:
        writer = cast(AbstractStreamWriter, await web.StreamResponse.prepare(self, request))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, fobj.seek, offset)
        while count > 0 and (piece := await loop.run_in_executor(None, fobj.read, min(count, UNFETCHED))):
            count -= len(piece)
            await writer.write(piece)
            # aiohttp would wait after 64 KB only.
            await writer.drain()
        await web.StreamResponse.write_eof(self)
        return writer
