// All that tasks and workers need of Kafka, so that a simulation can stand in for it. The real one
// is in kafka_*.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "segment/event.h"
#include "segment/time.h"

namespace segmentd {

using Partition = int32_t;

struct HeaderView {
  std::string_view name;
  std::string_view value;
  // Absent and empty are told apart, as they are below.
  bool has_value = true;
};

// An input record: views into the batch that it came in.
struct Record {
  Partition partition = 0;
  Offset offset;
  Time record_time;
  // Absent and empty are told apart: a record without a key is a dead letter.
  bool has_key = false;
  bool has_value = true;
  std::string_view key;
  std::string_view value;
  absl::Span<const HeaderView> headers;
};

// Asks the processor for a record that is to be decoded soon: the client's thread has written it.
// Inline for the reason that segment/user_state.h gives.
[[gnu::always_inline]] inline void Prefetch(const Record& record) {
  constexpr size_t kLine = 64;
  // Of a longer one the rest comes by itself, as it is read in order.
  const size_t size = std::min<size_t>(record.value.size(), 8 * kLine);
  __builtin_prefetch(record.key.data());
  for (size_t at = 0; at < size; at += kLine) __builtin_prefetch(record.value.data() + at);
}

// Records read at once, in offset order within a partition. Valid until the next poll of its
// source.
struct Batch {
  std::vector<Record> records;
  // Partitions whose end was reached by this batch: `position` is where the next record will be
  // (transaction markers counted), and `asked_at` is a wall-clock moment before the broker was
  // asked for what turned out to be the end.
  struct End {
    Partition partition;
    Offset position;
    Time asked_at;
  };
  std::vector<End> ends;
};

// The input, and which partitions of it are this worker's. One thread.
class Source {
 public:
  virtual ~Source() = default;

  // Partitions come and go inside poll(). Given and revoked are called before the batch that
  // follows them; until `start` is called for a given partition none of its records is delivered.
  struct Listener {
    // With none as well, when the group has nothing (more) for this worker.
    std::function<void(const std::vector<Partition>&)> given;
    // Still this worker's until the call returns: finish and commit.
    std::function<void(const std::vector<Partition>&)> revoked;
    // Already somebody else's: drop without a commit.
    std::function<void(const std::vector<Partition>&)> lost;
  };
  virtual void listen(Listener listener) = 0;

  // Begins delivery at `from`; also repositions a partition already delivered.
  virtual absl::Status start(Partition partition, Offset from) = 0;

  // Waits up to `wait` for something to deliver, then gives what is there, at most some thousands
  // of records. An error is lasting (authorization, a position that the broker no longer holds:
  // OUT_OF_RANGE, naming partition and offset).
  virtual absl::StatusOr<const Batch*> poll(absl::Duration wait) = 0;

  // First offset held and the offset where the next record will be.
  virtual absl::StatusOr<std::pair<Offset, Offset>> bounds(Partition partition) = 0;

  // Where the next record will be, as far as reading has told. Never waits, unlike bounds().
  virtual std::optional<Offset> known_end(Partition partition) = 0;

  // The group's committed offset, if there is one.
  virtual absl::StatusOr<std::optional<Offset>> committed(Partition partition) = 0;
};

// A write within a transaction. Views are copied before the call returns.
struct Write {
  enum class Topic : uint8_t { kChanges, kDeadLetters, kChangelog };
  Topic topic = Topic::kChanges;
  Partition partition = 0;
  bool has_key = true;
  std::string_view key;
  // Null value: a tombstone (changelog).
  bool has_value = true;
  std::string_view value;
  absl::Span<const HeaderView> headers;
};

enum class CommitResult : uint8_t {
  kCommitted,
  // Nothing of it will ever be seen; the tasks' memory is ahead of what is committed and must be
  // restored.
  kAborted,
  // Not known: a new transaction session (which fences the old) and the changelog tell. Restore.
  kUnknown,
  // Another instance owns the partitions now, or soon may: the session in the group, or the
  // transaction, has timed out.
  kFenced,
};

// One transactional producer. One thread. After anything but kCommitted, after abort(), or an error
// of write(), call renew() before the next transaction.
class Transactions {
 public:
  virtual ~Transactions() = default;
  virtual absl::Status begin() = 0;
  // Backpressure: waits while the client's queue is full, bounded.
  virtual absl::Status write(const Write& write) = 0;
  // With the input offsets (the next to be read) of every partition touched.
  virtual CommitResult commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                              std::string* why) = 0;
  virtual void abort() = 0;
  // A new session: fences whatever an older one of the same name left open.
  virtual absl::Status renew() = 0;
};

// Reads a changelog partition from its beginning to its end as of the call, calling `record` for
// each committed record (a tombstone has no value). The end is behind everything written by then,
// decided or not: what is undecided is waited for, so that an older owner's last commit is never
// missed. One thread. `progress` is told the offset read and the end's.
class Changelog {
 public:
  virtual ~Changelog() = default;
  virtual absl::Status read(
      Partition partition,
      absl::FunctionRef<absl::Status(std::string_view key, std::optional<std::string_view> value)>
          record,
      absl::FunctionRef<void(int64_t offset, int64_t end)> progress) = 0;
};

// Reads the input again, beside the source. One thread.
class HistorySource {
 public:
  virtual ~HistorySource() = default;
  // Begins at `from`, or at the first record held where that is later; returns which. Ends what was
  // begun before.
  virtual absl::StatusOr<Offset> open(Partition partition, Offset from) = 0;
  // Waits up to `wait` for records, then gives what is there, at most some thousands. Valid until
  // the next call. After an error, open() again.
  virtual absl::StatusOr<const Batch*> poll(absl::Duration wait) = 0;
  virtual void close() = 0;
};

// The wall clock, the only one.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time wall() = 0;
  // For intervals only.
  virtual absl::Duration monotonic() = 0;
};

}  // namespace segmentd
