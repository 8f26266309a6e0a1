// The times that an event's JSON carries, moved as if it had happened later.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "segment/time.h"

namespace segmentd {

// Writes the body to *out with `shift` added to its own time fields (`timestamp`,
// `originalTimestamp`, `sentAt`, `receivedAt` of Segment's formats, `ts` of CleverTap's), each in
// the form it has; all other bytes stay as they are. Dates among the properties are not the event's
// and stay too. INVALID_ARGUMENT when `json` is no object or a field is no time.
absl::Status ShiftEventTimes(std::string_view json, Duration shift, std::string* out);

}  // namespace segmentd
