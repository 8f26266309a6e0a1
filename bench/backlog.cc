#include "bench/backlog.h"

#include <string_view>

namespace segmentd::bench {

Backlog::Backlog(const Workload& workload, int64_t events, int64_t start_ms) {
  std::vector<size_t> body_ends;
  std::vector<size_t> key_ends;
  for (int64_t i = 0; i < events; ++i) {
    workload.append_event(i, start_ms + i / kEventsPerMilli, &bodies_);
    body_ends.push_back(bodies_.size());
    keys_ += workload.user(i);
    key_ends.push_back(keys_.size());
  }
  size_t body = 0;
  size_t key = 0;
  for (int64_t i = 0; i < events; ++i) {
    const auto at = static_cast<size_t>(i);
    records_.push_back({.offset = Offset(i),
                        .record_time = Time::Millis(start_ms + i / kEventsPerMilli),
                        .has_key = true,
                        .key = std::string_view(keys_).substr(key, key_ends[at] - key),
                        .value = std::string_view(bodies_).substr(body, body_ends[at] - body)});
    key = key_ends[at];
    body = body_ends[at];
  }
}

}  // namespace segmentd::bench
