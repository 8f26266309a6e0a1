// A server of one service, for segctl to ask.
#pragma once

#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>

namespace segmentd {

class SegctlServer {
 public:
  // Listens on a free port of this machine. `service` outlives this.
  explicit SegctlServer(grpc::Service& service,
                        const std::shared_ptr<grpc::ServerCredentials>& credentials =
                            grpc::InsecureServerCredentials());
  // Ends the calls that still run.
  ~SegctlServer();

  // "127.0.0.1:41234"
  const std::string& address() const { return address_; }

 private:
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace segmentd
