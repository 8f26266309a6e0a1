// A Time as messages have it.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include "segment/time.h"

namespace segmentd {

void SetTimestamp(Time time, google::protobuf::Timestamp* out);

// What is finer than a millisecond is cut off.
Time TimeOf(const google::protobuf::Timestamp& timestamp);

}  // namespace segmentd
