# One target a folder, and an include root of its own.
#
# A target sees only the include roots of the folders it links, so a header of another folder does
# not exist for it. build/include-roots/<folder>/<folder> is a link to the sources.

function(segmentd_include_root target scope folder)
  set(root ${PROJECT_BINARY_DIR}/include-roots/${folder})
  file(MAKE_DIRECTORY ${root})
  if(NOT EXISTS ${root}/${folder})
    file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${folder} ${root}/${folder} SYMBOLIC)
  endif()
  target_include_directories(${target} ${scope} ${root})
endfunction()

# Warnings and tidy, for every target of our own sources.
function(segmentd_own target)
  target_link_libraries(${target} PRIVATE segmentd_warnings)
  if(SEGMENTD_TIDY)
    set_target_properties(${target} PROPERTIES
      CXX_CLANG_TIDY "${SEGMENTD_CLANG_TIDY};--warnings-as-errors=*;--quiet")
  endif()
endfunction()

# segmentd_folder(name [EXCLUDE file...] [LINKS library...])
# The library of the folder: all its *.cc but the excluded ones.
function(segmentd_folder name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "EXCLUDE;LINKS")
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${name}/*.cc)
  foreach(file IN LISTS arg_EXCLUDE)
    list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/${name}/${file})
  endforeach()
  if(sources)
    add_library(${name} STATIC ${sources})
    segmentd_own(${name})
    set(scope PUBLIC)
  else()
    add_library(${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  segmentd_include_root(${name} ${scope} ${name})
  target_link_libraries(${name} ${scope} ${arg_LINKS})
endfunction()

# segmentd_program(name source library...)
function(segmentd_program name source)
  add_executable(${name} ${source})
  segmentd_own(${name})
  # First of all, so that every allocation is jemalloc's; sanitizers bring an allocator of their own.
  if(NOT SEGMENTD_SANITIZE)
    target_link_libraries(${name} PRIVATE segmentd::jemalloc)
  endif()
  target_link_libraries(${name} PRIVATE ${ARGN})
endfunction()

# Folders whose headers a file includes, as the libraries of the same names.
# The file is read when CMake runs, and CMake runs again when it changes.
function(segmentd_included_folders out)
  set(found "")
  foreach(file IN LISTS ARGN)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(STRINGS ${file} lines REGEX "^#include \"(segment|state|stream|api|app|proto|tests/[a-z]+)/")
    foreach(line IN LISTS lines)
      string(REGEX MATCH "\"(tests/[a-z]+|[a-z]+)/" _ "${line}")
      set(folder ${CMAKE_MATCH_1})
      if(folder STREQUAL "proto")
        if(line MATCHES "\\.grpc\\.pb\\.h")
          set(folder segments_grpc_proto)
        else()
          set(folder segments_proto)
        endif()
      endif()
      list(APPEND found ${folder})
    endforeach()
  endforeach()
  list(REMOVE_DUPLICATES found)
  set(${out} ${found} PARENT_SCOPE)
endfunction()
