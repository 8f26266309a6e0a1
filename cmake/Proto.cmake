# Generates C++ from proto/segments/v1/*.proto, and from the standard files in proto/google and proto/grpc.
#
# Paths start at the repository's root: "proto/segments/v1/x.proto" and "proto/segments/v1/x.pb.h".
# gRPC stubs are generated into a tree of their own, so that only what links segments_grpc_proto
# can include them. Standard files have the names that they have everywhere, "grpc/health/v1/health.proto", and a tree and a
# library of their own, standard_proto.

function(segmentd_proto)
  set(messages ${PROJECT_BINARY_DIR}/generated/messages)
  set(stubs ${PROJECT_BINARY_DIR}/generated/stubs)
  file(MAKE_DIRECTORY ${messages} ${stubs})
  file(GLOB protos CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/proto/segments/v1/*.proto)

  set(message_sources "")
  set(stub_sources "")
  foreach(proto IN LISTS protos)
    cmake_path(GET proto STEM LAST_ONLY name)
    set(generated ${messages}/proto/segments/v1/${name})
    add_custom_command(
      OUTPUT ${generated}.pb.cc ${generated}.pb.h
      COMMAND protobuf::protoc -I ${PROJECT_SOURCE_DIR} --cpp_out=${messages} ${proto}
      DEPENDS ${protos}
      VERBATIM)
    list(APPEND message_sources ${generated}.pb.cc)

    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${proto})
    file(STRINGS ${proto} services REGEX "^service ")
    if(services)
      set(generated ${stubs}/proto/segments/v1/${name})
      add_custom_command(
        OUTPUT ${generated}.grpc.pb.cc ${generated}.grpc.pb.h
        COMMAND protobuf::protoc -I ${PROJECT_SOURCE_DIR} --grpc_out=${stubs}
                --plugin=protoc-gen-grpc=${SEGMENTD_GRPC_PLUGIN} ${proto}
        DEPENDS ${protos}
        VERBATIM)
      list(APPEND stub_sources ${generated}.grpc.pb.cc)
    endif()
  endforeach()

  segmentd_generated_library(segments_proto ${messages} "${message_sources}" protobuf::libprotobuf)
  segmentd_generated_library(segments_grpc_proto ${stubs} "${stub_sources}" "segments_proto;gRPC::grpc++")

  set(standard ${PROJECT_BINARY_DIR}/generated/standard)
  file(MAKE_DIRECTORY ${standard})
  file(GLOB_RECURSE protos CONFIGURE_DEPENDS
    RELATIVE ${PROJECT_SOURCE_DIR}/proto
    ${PROJECT_SOURCE_DIR}/proto/google/*.proto ${PROJECT_SOURCE_DIR}/proto/grpc/*.proto)
  set(standard_sources "")
  foreach(proto IN LISTS protos)
    cmake_path(REPLACE_EXTENSION proto LAST_ONLY "" OUTPUT_VARIABLE name)
    set(generated ${standard}/${name})
    add_custom_command(
      OUTPUT ${generated}.pb.cc ${generated}.pb.h
      COMMAND protobuf::protoc -I ${PROJECT_SOURCE_DIR}/proto --cpp_out=${standard}
              ${PROJECT_SOURCE_DIR}/proto/${proto}
      DEPENDS ${PROJECT_SOURCE_DIR}/proto/${proto}
      VERBATIM)
    list(APPEND standard_sources ${generated}.pb.cc)
  endforeach()
  segmentd_generated_library(standard_proto ${standard} "${standard_sources}" protobuf::libprotobuf)
endfunction()

# Generated headers are system headers: our warnings are not for them.
function(segmentd_generated_library target root sources links)
  if(sources)
    add_library(${target} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(${target} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(${target} SYSTEM ${scope} ${root})
  target_link_libraries(${target} ${scope} ${links})
endfunction()
