// The segments as topic `segment-definitions` holds them, followed on a thread of its own.
//
// A record that can't be read or run is kept, with status INVALID and the reason: it takes nothing
// away. What was readable under the same ID before goes on; only a tombstone deletes a segment.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "proto/segments/v1/definition.pb.h"
#include "state/definition_log.h"
#include "stream/kafka_client.h"
#include "stream/kafka_settings.h"
#include "stream/task_board.h"

namespace segmentd {

class KafkaDefinitionLog final : public DefinitionLog {
 public:
  using Segments = std::vector<segments::v1::Segment>;

  struct Options {
    std::string topic;
    // The client needs a name of a group to read by assignment; nothing is committed to it.
    std::string group;
    // Called on the thread of the log, first when the topic was read to its end and then after
    // every change, and when only `end` is another, with all segments, sorted by ID; one that is
    // not to be run has status INVALID. They are what the topic holds before `end`.
    std::function<void(std::shared_ptr<const Segments>, Offset end)> changed;
  };

  // `board` says what the running tasks have applied; it outlives the log.
  static absl::StatusOr<std::unique_ptr<KafkaDefinitionLog>> Create(const KafkaSettings& settings,
                                                                    Options options,
                                                                    const TaskBoard& board);
  ~KafkaDefinitionLog() override;

  // Any thread. Where the topic ends, as its broker says; UNAVAILABLE when it does not say in time.
  absl::StatusOr<Offset> end() const;
  // False when the topic was not read to its end once by the deadline.
  bool wait_ready(absl::Time deadline) const;

  std::shared_ptr<const Segments> All() const override;
  absl::Status Append(const std::vector<Write>& writes, absl::Time deadline) override;
  bool WaitApplied(std::string_view id, int64_t version, absl::Time deadline) override;
  bool WaitsForBuild(std::string_view id, int64_t version) const override;

  // Raised by every change.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }
  // Records that could not be read or run, since the start.
  int64_t invalid_records() const { return invalid_records_.load(std::memory_order_relaxed); }
  // Times that following had to begin again.
  int64_t failures() const { return failures_.load(std::memory_order_relaxed); }

 private:
  struct Stored {
    segments::v1::Segment segment;
    // Why it is not run; empty when it is.
    std::string invalid;
    Offset offset;
  };
  // Without the tasks' statuses.
  struct Published {
    std::shared_ptr<const Segments> segments;
    // Of those that are INVALID.
    std::map<std::string, Offset, std::less<>> offsets;
  };
  using Table = std::map<std::string, Stored, std::less<>>;

  KafkaDefinitionLog(KafkaSettings settings, Options options, const TaskBoard& board)
      : settings_(std::move(settings)), options_(std::move(options)), board_(board) {}

  // On the log's thread, while it waits for records.
  static void NoteError(rd_kafka_t* handle, int error, const char* reason, void* log);
  void run();
  // Returns when told to stop (OK), or with what went wrong.
  absl::Status follow();
  // Null value: a tombstone.
  void put(std::string_view key, std::optional<std::string_view> value, int64_t offset,
           Table* table);
  void publish(bool changed, int64_t position);
  // What All() shows of a segment besides what is stored.
  struct Shown {
    int64_t version;
    bool paused;
    TaskBoard::Status status;
  };
  Shown shown(const Published& published, const segments::v1::Segment& segment) const;
  bool stopping() const;

  // OK unless the topic ends before what was run of it, or this instance has not read that far, or
  // nobody knows yet how far that is.
  absl::Status check_whole(absl::Time deadline) const;
  absl::StatusOr<Offset> end_within(absl::Duration limit) const;
  absl::Status open_writer(absl::Time deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  // Returns the offset behind the last of them.
  absl::StatusOr<int64_t> write(const std::vector<Write>& writes, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);

  const KafkaSettings settings_;
  const Options options_;
  const TaskBoard& board_;

  KafkaHandle reader_;
  KafkaQueue records_;
  std::thread thread_;
  // Of the thread.
  Table table_;
  // The broker knows no such topic any more: told beside the records.
  absl::Status gone_;

  // Guards what follows, up to snapshot_mutex_.
  mutable std::mutex mutex_;
  // Of what it guards.
  mutable std::condition_variable changed_;
  bool stop_ = false;
  bool ready_ = false;
  int64_t position_ = 0;
  std::shared_ptr<const Published> stored_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> invalid_records_{0};
  std::atomic<int64_t> failures_{0};

  // What All() gave last. Statuses are asked for anew when this is older than some milliseconds.
  struct Snapshot {
    std::shared_ptr<const Published> of;
    std::shared_ptr<const Segments> segments;
    absl::Time at = absl::InfinitePast();
  };
  mutable std::mutex snapshot_mutex_;
  mutable Snapshot snapshot_;

  std::mutex writer_mutex_;
  KafkaHandle writer_;
};

}  // namespace segmentd
