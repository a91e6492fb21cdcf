"""Answers with a file, of which little is in memory, however slowly the client reads it."""

import asyncio
from typing import IO, Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from rke2_units.join_api.connection import UNFETCHED


class FileAnswer(web.FileResponse):
    """aiohttp's FileResponse, with its ranges and dates, but sent in pieces through the connection.

    asyncio's sendfile, which aiohttp uses, buffers three times 16 KB for each, and the connection does not
    notice that the client reads.
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
            # aiohttp alone would wait only after 64 KB.
            await writer.drain()
        await web.StreamResponse.write_eof(self)
        return writer
