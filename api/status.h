// Errors as callers see them: canonical codes, a message that says what to do, and
// google.rpc.BadRequest details.
#pragma once

#include <vector>

#include "absl/status/status.h"

#include "segment/definition_check.h"

namespace grpc {
class Status;
}

namespace segmentd {

// OK without violations; UNIMPLEMENTED when every one of them is about what this version can't run,
// else INVALID_ARGUMENT. The message holds one violation a line, the details google.rpc.BadRequest;
// of many, the first that fit.
absl::Status ViolationsError(const std::vector<Violation>& violations);

// Payloads become details. Messages are cut so that the trailers stay within the 8 KiB that clients
// accept.
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace segmentd
