#include "tests/unit/segctl_server.h"

#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include "api/server.h"

namespace segmentd {

SegctlServer::SegctlServer(grpc::Service& service,
                           const std::shared_ptr<grpc::ServerCredentials>& credentials) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", credentials, &port);
  builder.SetMaxReceiveMessageSize(kMaxReceivedBytes);
  builder.RegisterService(&service);
  server_ = builder.BuildAndStart();
  EXPECT_NE(server_, nullptr);
  address_ = "127.0.0.1:" + std::to_string(port);
}

SegctlServer::~SegctlServer() {
  if (server_) server_->Shutdown();
}

}  // namespace segmentd
