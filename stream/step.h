// One transaction under construction. It begins with its first write, so that a step with nothing
// to write costs nothing.
//
// An error of a write is kept, not returned: what follows it is without effect, and commit()
// reports it. So a task need not look at every write; it looks at full() and goes on later.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "stream/io.h"

namespace segmentd {

class Step {
 public:
  struct Bounds {
    // Of changes, dead letters and images together.
    int64_t records = 50'000;
    int64_t bytes = 16 << 20;
  };

  Step(Transactions& transactions, Bounds bounds) : transactions_(transactions), bounds_(bounds) {}
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  void write(const Write& write);

  // Nothing more should be put in: a bound is reached, or a write failed.
  bool full() const {
    return records_ >= bounds_.records || bytes_ >= bounds_.bytes || !status_.ok();
  }
  bool empty() const { return !begun_ && status_.ok(); }
  int64_t records() const { return records_; }
  int64_t bytes() const { return bytes_; }
  const absl::Status& status() const { return status_; }

  // With the next offsets of every partition that has a write in it. Whatever the result, the step
  // is empty then. After anything but kCommitted the caller renews the transactions.
  CommitResult commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                      std::string* why);
  void abort();

 private:
  void clear();

  Transactions& transactions_;
  const Bounds bounds_;
  bool begun_ = false;
  int64_t records_ = 0;
  int64_t bytes_ = 0;
  absl::Status status_;
};

}  // namespace segmentd
