# Finds the static librdkafka that `make deps` builds, and defines RdKafka::rdkafka.
# Headers are included as <librdkafka/rdkafka.h>.
#   SEGMENTD_DEPS_DIR  (environment) where `make deps` keeps what it builds

if(DEFINED ENV{SEGMENTD_DEPS_DIR})
  set(RdKafka_ROOT_DIR $ENV{SEGMENTD_DEPS_DIR})
else()
  set(RdKafka_ROOT_DIR $ENV{HOME}/.cache/segmentd/deps)
endif()
set(RdKafka_ROOT_DIR ${RdKafka_ROOT_DIR}/librdkafka-${RdKafka_FIND_VERSION}-pthread)

find_path(RdKafka_INCLUDE_DIR librdkafka/rdkafka.h
  PATHS ${RdKafka_ROOT_DIR}/include NO_DEFAULT_PATH)
find_library(RdKafka_LIBRARY librdkafka.a
  PATHS ${RdKafka_ROOT_DIR}/lib NO_DEFAULT_PATH)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(RdKafka
  REQUIRED_VARS RdKafka_LIBRARY RdKafka_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "No librdkafka in ${RdKafka_ROOT_DIR}: run 'make deps'.")

if(RdKafka_FOUND AND NOT TARGET RdKafka::rdkafka)
  find_package(OpenSSL REQUIRED)
  find_package(ZLIB REQUIRED)
  find_package(Threads REQUIRED)
  find_library(RdKafka_SASL sasl2 REQUIRED)
  find_library(RdKafka_ZSTD zstd REQUIRED)
  find_library(RdKafka_LZ4 lz4 REQUIRED)
  add_library(RdKafka::rdkafka STATIC IMPORTED)
  set_target_properties(RdKafka::rdkafka PROPERTIES
    IMPORTED_LOCATION ${RdKafka_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${RdKafka_INCLUDE_DIR}
    INTERFACE_COMPILE_DEFINITIONS LIBRDKAFKA_STATICLIB
    INTERFACE_LINK_LIBRARIES
      "${RdKafka_SASL};${RdKafka_ZSTD};${RdKafka_LZ4};OpenSSL::SSL;OpenSSL::Crypto;ZLIB::ZLIB;Threads::Threads;dl;m")
endif()
