#include "api/call.h"

#include <grpcpp/server_context.h>
#include <simdjson.h>

#include <algorithm>

#include "absl/strings/ascii.h"

namespace segmentd {

Call::Call(const grpc::ServerContext& context, const std::function<absl::Time()>& clock,
           absl::Duration longest)
    : context_(context),
      clock_(clock),
      deadline_(std::min(absl::FromChrono(context.deadline()), clock() + longest)) {}

bool Call::cancelled() const {
  return context_.IsCancelled();
}

absl::Status Call::Check() const {
  if (now() >= deadline_) {
    return absl::DeadlineExceededError("the call's deadline has passed; retry with a later one");
  }
  if (cancelled()) return absl::CancelledError("the call was cancelled");
  return absl::OkStatus();
}

absl::Status Call::Allowed(const Access& access, Role needed) const {
  return access.Check(Metadata("authorization"), needed);
}

absl::StatusOr<std::string> Call::User() const {
  // gRPC carries no other characters than printable ASCII but in metadata named so.
  if (const std::optional<std::string_view> user = Metadata("x-user-bin")) {
    const auto characters =
        std::count_if(user->begin(), user->end(), [](char c) { return (c & 0xC0) != 0x80; });
    if (characters > 200 || !simdjson::validate_utf8(user->data(), user->size()) ||
        std::any_of(user->begin(), user->end(), absl::ascii_iscntrl)) {
      return absl::InvalidArgumentError(
          "metadata x-user-bin: at most 200 characters of UTF-8 are allowed, none of them a "
          "control character");
    }
    return std::string(*user);
  }
  const std::optional<std::string_view> user = Metadata("x-user");
  if (!user) return std::string();
  if (user->size() > 200 || !std::all_of(user->begin(), user->end(), absl::ascii_isprint)) {
    return absl::InvalidArgumentError(
        "metadata x-user: at most 200 characters of printable ASCII are allowed");
  }
  return std::string(*user);
}

std::optional<std::string_view> Call::Metadata(std::string_view key) const {
  const auto found = context_.client_metadata().find(grpc::string_ref(key.data(), key.size()));
  if (found == context_.client_metadata().end()) return std::nullopt;
  return std::string_view(found->second.data(), found->second.size());
}

}  // namespace segmentd
