// Writes events to a topic as a Java producer with its default settings would: the same key, the
// same partition.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "segment/time.h"
#include "stream/kafka_client.h"

namespace segmentd {

// What the topic does with records by their time.
struct TopicRetention {
  // Absent: kept for ever.
  std::optional<Duration> kept;
  // Older records are refused; absent: none.
  std::optional<Duration> refused_before;
  // The broker writes its own time over the record time.
  bool append_time = false;
  // Records further ahead of the broker's clock are refused; absent: none.
  std::optional<Duration> refused_after;
};

// FAILED_PRECONDITION when the topic would not take or keep what a file becomes: with the settings
// that stand in the way, and only such advice as it would take. `oldest` and `newest` are how old
// the file's events are now; without `keep_times` they are shifted until the newest is now.
absl::Status CheckRetention(const TopicRetention& retention, const std::string& topic,
                            Duration oldest, Duration newest, bool keep_times);

// One thread.
class EventProducer {
 public:
  // UNAVAILABLE when no broker answers, NOT_FOUND without the topic.
  static absl::StatusOr<std::unique_ptr<EventProducer>> Connect(const KafkaSettings& settings,
                                                                const std::string& topic,
                                                                absl::Duration timeout);
  // Drops what was not delivered.
  ~EventProducer();

  absl::StatusOr<TopicRetention> retention(absl::Duration timeout);

  // Waits while the client's queue is full. What becomes of it is counted below.
  absl::Status send(std::string_view key, std::string_view value, Time record_time);
  // Waits, while deliveries go on.
  void wait(absl::Duration duration);
  // Waits until everything was delivered or has failed, at most `bound`.
  void finish(absl::Duration bound);

  int64_t sent() const { return sent_; }
  int64_t delivered() const { return delivered_; }
  // Those not delivered, after finish().
  int64_t failed() const { return sent_ - delivered_; }
  // Those among them that Kafka would refuse again, being as they are.
  int64_t refused() const { return refused_; }
  // Why the first one failed, and what can be done; empty when none did.
  const std::string& first_error() const { return first_error_; }

 private:
  EventProducer() = default;
  static void Delivered(rd_kafka_t* handle, const rd_kafka_message_t* message, void* producer);

  std::string topic_;
  KafkaHandle handle_;
  int64_t sent_ = 0;
  int64_t delivered_ = 0;
  int64_t refused_ = 0;
  std::string first_error_;
};

}  // namespace segmentd
