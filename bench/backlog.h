// A workload's events as the records of a partition, all in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/workload.h"
#include "stream/io.h"

namespace segmentd::bench {

class Backlog {
 public:
  static constexpr int64_t kEventsPerMilli = 10;
  // From `start_ms` on.
  Backlog(const Workload& workload, int64_t events, int64_t start_ms);
  Backlog(const Backlog&) = delete;
  Backlog& operator=(const Backlog&) = delete;

  // Views into the backlog.
  const std::vector<Record>& records() const { return records_; }
  // Of all bodies.
  size_t bytes() const { return bodies_.size(); }

 private:
  // One after the other, as in a fetch.
  std::string bodies_;
  std::string keys_;
  std::vector<Record> records_;
};

}  // namespace segmentd::bench
