#include "segment/timestamp.h"

namespace segmentd {

void SetTimestamp(Time time, google::protobuf::Timestamp* out) {
  // Nanoseconds count forwards, before 1970 too.
  int64_t seconds = time.millis() / 1000;
  int64_t millis = time.millis() % 1000;
  if (millis < 0) {
    millis += 1000;
    --seconds;
  }
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(millis * 1'000'000));
}

Time TimeOf(const google::protobuf::Timestamp& timestamp) {
  // Of Time::Min(), which lies amid a second, the whole seconds are before all times.
  if (timestamp.seconds() < INT64_MIN / 1000) return Time::Min();
  return Time::Millis(timestamp.seconds() * 1000 + timestamp.nanos() / 1'000'000);
}

}  // namespace segmentd
