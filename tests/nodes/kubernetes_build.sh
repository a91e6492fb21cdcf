#!/bin/sh
# Builds the six programs of Kubernetes 1.20.2 and the pause program from Debian's source package.
#   kubernetes_build.sh SOURCE OUTPUT
# SOURCE: the unpacked source package (it is changed); OUTPUT: an existing directory.
set -eu

source=$(readlink -f "$1")
output=$(readlink -f "$2")
work=$(dirname "$source")

PATH=/usr/lib/go-1.19/bin:$PATH
GOPATH=$work/go
GOCACHE=${GOCACHE:-$work/go-cache}
GO111MODULE=off
CGO_ENABLED=0
GOFLAGS=
# The compiler lives for seconds and has the memory for it: collecting garbage costs it more than it gains.
GOGC=400
export PATH GOPATH GOCACHE GO111MODULE CGO_ENABLED GOFLAGS GOGC

mkdir -p "$GOPATH/src/k8s.io"
ln -s "$source" "$GOPATH/src/k8s.io/kubernetes"
cd "$GOPATH/src/k8s.io/kubernetes"

# The vendored reflect2 1.0.1 crashes in map iteration when built by Go 1.18 or newer; Debian has 1.0.2.
rm -r vendor/github.com/modern-go/reflect2
cp -r /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/

# The apiserver's OpenAPI definitions are generated code that the source package does not carry.
echo "generating the OpenAPI definitions" >&2
go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
packages=$(grep -rl --include='*.go' '+k8s:openapi-gen=' staging/src/k8s.io | xargs -n1 dirname | sort -u |
	grep -v -e /code-generator/ -e /sample-apiserver/ |
	sed 's,^staging/src/,k8s.io/kubernetes/vendor/,' | paste -sd,)
"$work/openapi-gen" --go-header-file hack/boilerplate/boilerplate.generatego.txt \
	--output-file-base zz_generated.openapi --output-package k8s.io/kubernetes/pkg/generated/openapi \
	--input-dirs "$packages" --report-filename /dev/null --output-base "$GOPATH/src"

flags="-s -w"
for package in client-go/pkg/version component-base/version; do
	package=k8s.io/kubernetes/vendor/k8s.io/$package
	flags="$flags -X $package.gitVersion=v1.20.2 -X $package.gitMajor=1 -X $package.gitMinor=20"
	flags="$flags -X $package.gitTreeState=clean"
done
programs="kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl"
# All in one: while one is linked, which is work for a single processor, others are compiled.
for program in $programs; do
	set -- "$@" "./cmd/$program"
done
shift 2
echo "building $programs" >&2
# As current releases are: without cloud providers, which double the size of programs, and without Docker, for which an old
# kubelet with it waits 5 s at each start. The linker leaves out what debuggers read (-w): none is made.
go build -v -trimpath -tags providerless,dockerless -gcflags=all=-dwarf=false -ldflags "$flags" -o "$output/" "$@"

echo "building pause" >&2
gcc -Os -Wall -Werror -static -s -DVERSION=3.2 -o "$output/pause" build/pause/linux/pause.c
