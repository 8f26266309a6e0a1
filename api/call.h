// One gRPC call as its handler sees it: until when, whether still wanted, and by whom.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "api/access.h"

namespace grpc {
class ServerContext;
}

namespace segmentd {

// How often a wait looks whether the call was cancelled.
inline constexpr absl::Duration kCancellationCheck = absl::Milliseconds(200);

class Call {
 public:
  // `longest` bounds calls with a later deadline or none. `context` and `clock` outlive the call.
  Call(const grpc::ServerContext& context, const std::function<absl::Time()>& clock,
       absl::Duration longest);

  absl::Time now() const { return clock_(); }
  absl::Time deadline() const { return deadline_; }
  // By the client, by its deadline or by the server's shutdown.
  bool cancelled() const;
  // CANCELLED or DEADLINE_EXCEEDED when it is of no use to go on.
  absl::Status Check() const;

  absl::Status Allowed(const Access& access, Role needed) const;
  // Metadata `x-user-bin`, UTF-8 without control characters, else `x-user`, printable ASCII; empty
  // without both. INVALID_ARGUMENT for anything else, or over 200 characters.
  absl::StatusOr<std::string> User() const;

 private:
  std::optional<std::string_view> Metadata(std::string_view key) const;

  const grpc::ServerContext& context_;
  const std::function<absl::Time()>& clock_;
  absl::Time deadline_;
};

}  // namespace segmentd
