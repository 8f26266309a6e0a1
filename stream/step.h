// One transaction under construction. It begins with its first write, so that a step with nothing
// to write costs nothing.
//
// An error of a write is kept, not returned: what follows it is without effect, and commit()
// reports it. So a task need not look at every write; it looks at full() and goes on later.
//
// A broker refuses a transaction that comes while it still completes the one before, and the client
// asks again only 20 ms later. So a step can be held back for some milliseconds: its writes are
// kept here until release().
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

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

  // From now on, until release() or commit(), the transaction does not begin.
  void hold() { held_ = true; }
  void release();
  bool held() const { return held_; }

  // Nothing more should be put in: a bound is reached, or a write failed.
  bool full() const {
    return records_ >= bounds_.records || bytes_ >= bounds_.bytes || !status_.ok();
  }
  bool empty() const { return !begun_ && kept_.empty() && status_.ok(); }
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
  void put(const Write& write);
  void keep(const Write& write);

  Transactions& transactions_;
  const Bounds bounds_;
  bool begun_ = false;

  // What was written while held: sizes here, the bytes one after the other.
  struct Kept {
    Write::Topic topic;
    Partition partition;
    bool has_key;
    bool has_value;
    size_t key_bytes;
    size_t value_bytes;
    size_t headers;
  };
  bool held_ = false;
  std::vector<Kept> kept_;
  struct KeptHeader {
    size_t name_bytes;
    size_t value_bytes;
    bool has_value;
  };
  std::vector<KeptHeader> kept_headers_;
  std::string kept_bytes_;

  int64_t records_ = 0;
  int64_t bytes_ = 0;
  absl::Status status_;
};

}  // namespace segmentd
