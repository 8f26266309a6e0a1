#!/usr/bin/env bash
# Formats the C++ sources; with --check only says which differ, and fails if any does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mode=(-i)
[[ ${1:-} == --check ]] && mode=(--dry-run --Werror)
git ls-files --cached --others --exclude-standard -z '*.cc' '*.h' | xargs -0 -r clang-format-14 "${mode[@]}"
