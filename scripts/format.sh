#!/usr/bin/env bash
# Formats the C++ sources; with --check only says which differ, and fails if any does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mode=(-i)
[[ ${1:-} == --check ]] && mode=(--dry-run --Werror)
find segment state stream api app bench tests \( -name '*.cc' -o -name '*.h' \) -print0 |
  xargs -0 -r clang-format-14 "${mode[@]}"
