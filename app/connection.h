// segctl's connection to a server.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "app/segctl.h"

namespace segmentd {

class Connection {
 public:
  // INVALID_ARGUMENT for options that can't be used. Nothing is sent yet.
  static absl::StatusOr<Connection> Open(const GlobalOptions& options);

  // As the options name it.
  const std::string& server() const { return server_; }
  std::shared_ptr<grpc::Channel> channel() const { return channel_; }
  // Sets what each call carries: author, token and, but for a stream without an end, the deadline.
  void prepare(grpc::ClientContext& context, bool bounded = true) const;

  // Whether nobody was there to answer, by the words of the client library.
  static bool Unreached(const grpc::Status& status);

  // What went wrong, for people; the exit status is 1 for NOT_FOUND, 2 for what the caller can
  // mend, else 3.
  // `place`, of what was asked about in a file, stands before each line of what the server refuses.
  ExitStatus complain(const grpc::Status& status, const std::string& place = "") const;

 private:
  std::string server_;
  absl::Duration timeout_;
  std::string user_;
  std::string authorization_;
  // An option that may be missing where the server hangs up, or nothing.
  std::string tls_hint_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace segmentd
