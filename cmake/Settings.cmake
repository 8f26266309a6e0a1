# Language, warnings, sanitizers, linker and cache: what holds for every target.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)

# -g1: stack traces with line numbers at a fifth of the size of -g.
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -g1 -DNDEBUG")

set(SEGMENTD_SANITIZE "" CACHE STRING
    "Sanitizers to build with, as -fsanitize= takes them: address,undefined or thread")
option(SEGMENTD_FUZZ "Build the libFuzzer targets in tests/fuzz (needs clang)" OFF)
option(SEGMENTD_TIDY "Run clang-tidy with every compilation" OFF)

# Everything that segmentd compiles itself links this; generated code does not.
add_library(segmentd_warnings INTERFACE)
target_compile_options(segmentd_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Werror
  # Designated initializers leave members to their defaults on purpose.
  -Wno-missing-field-initializers
  # librdkafka's macros are such expressions.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-gnu-statement-expression>
  # GCC 12 reports these for correct std::string, std::optional and absl::StatusOr code at -O3.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-restrict;-Wno-array-bounds;-Wno-stringop-overflow;-Wno-stringop-overread>)

add_compile_options(-fno-omit-frame-pointer)
if(SEGMENTD_SANITIZE)
  add_compile_options(-fsanitize=${SEGMENTD_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SEGMENTD_SANITIZE})
endif()
if(SEGMENTD_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "Fuzzing needs clang: configure with 'cmake --preset fuzz'.")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(SEGMENTD_TIDY)
  find_program(SEGMENTD_CLANG_TIDY NAMES clang-tidy-14 clang-tidy REQUIRED)
endif()

find_program(SEGMENTD_MOLD mold)
if(SEGMENTD_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

find_program(SEGMENTD_CCACHE ccache)
if(SEGMENTD_CCACHE)
  # Paths below the common parent of sources and build are hashed relative to the build folder,
  # so that build folders at the same depth share their results.
  set(base ${PROJECT_SOURCE_DIR})
  cmake_path(IS_PREFIX base ${PROJECT_BINARY_DIR} NORMALIZE inside)
  while(NOT inside)
    cmake_path(GET base PARENT_PATH base)
    cmake_path(IS_PREFIX base ${PROJECT_BINARY_DIR} NORMALIZE inside)
  endwhile()
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${base} CCACHE_NOHASHDIR=1 ${SEGMENTD_CCACHE})
endif()
