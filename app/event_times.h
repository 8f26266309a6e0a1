// The times that an event's JSON carries, moved as if it had happened later.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "segment/time.h"

namespace segmentd {

// Writes the body to *out with `shift` added to its own time fields, each in the form it has:
// `timestamp`, `originalTimestamp`, `sentAt`, `receivedAt` of Segment's formats, `ts` of
// CleverTap's, `time_ms` or `timeMs` of segments.v1.Event. All other bytes stay as they are: dates
// among the properties and other formats' fields are not the event's. INVALID_ARGUMENT when `json`
// is no object or a field is no time.
absl::Status ShiftEventTimes(std::string_view json, Duration shift, std::string* out);

}  // namespace segmentd
