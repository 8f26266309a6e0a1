# Libraries from outside; docs/dependencies.md says why each. `make deps` installs them all.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf 3.21 REQUIRED)
find_package(gRPC 1.51 CONFIG REQUIRED)
find_package(simdjson 3.0 CONFIG REQUIRED)
find_package(spdlog 1.10 CONFIG REQUIRED)
find_package(fmt 9.1 CONFIG REQUIRED)
find_package(yaml-cpp 0.7 CONFIG REQUIRED)
find_package(CLI11 2.1 CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(tomlplusplus 3.3 CONFIG REQUIRED)
find_package(GTest REQUIRED)
find_package(rapidcheck CONFIG REQUIRED)
find_package(benchmark 1.7 CONFIG REQUIRED)
find_package(RdKafka 2.8.0 MODULE REQUIRED)

# The packages of these ship no CMake targets.
function(segmentd_system_library target header)
  find_path(${target}_INCLUDE ${header} REQUIRED)
  find_library(${target}_LIBRARY NAMES ${ARGN} REQUIRED)
  add_library(segmentd::${target} INTERFACE IMPORTED)
  set_target_properties(segmentd::${target} PROPERTIES
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${${target}_INCLUDE}
    INTERFACE_LINK_LIBRARIES ${${target}_LIBRARY})
endfunction()
segmentd_system_library(re2 re2/re2.h re2)
segmentd_system_library(jemalloc jemalloc/jemalloc.h jemalloc)
segmentd_system_library(httplib httplib.h cpp-httplib)
# The flags that Debian's cpp-httplib was built with; its classes differ in size without them.
set_property(TARGET segmentd::httplib PROPERTY INTERFACE_COMPILE_DEFINITIONS
  CPPHTTPLIB_OPENSSL_SUPPORT CPPHTTPLIB_ZLIB_SUPPORT CPPHTTPLIB_BROTLI_SUPPORT)
find_package(OpenSSL REQUIRED)
set_property(TARGET segmentd::httplib APPEND PROPERTY INTERFACE_LINK_LIBRARIES
  OpenSSL::SSL OpenSSL::Crypto ZLIB::ZLIB Threads::Threads)

find_program(SEGMENTD_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)
