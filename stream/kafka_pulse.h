// Whether Kafka answers at all: what any broker can tell is asked for again and again, on a thread
// of its own. Nothing is decided by it but what operators are told: work that waits for Kafka can't
// say whether it is Kafka that is silent.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "stream/kafka_client.h"
#include "stream/kafka_settings.h"

namespace segmentd {

class KafkaPulse {
 public:
  struct Options {
    absl::Duration every = absl::Seconds(1);
    // For an answer. The destructor may wait as long.
    absl::Duration limit = absl::Seconds(2);
  };
  static absl::StatusOr<std::unique_ptr<KafkaPulse>> Create(const KafkaSettings& settings,
                                                            Options options);
  ~KafkaPulse();
  KafkaPulse(const KafkaPulse&) = delete;
  KafkaPulse& operator=(const KafkaPulse&) = delete;

  // When the first of the questions was asked that have no answer; nothing when the last one had.
  // Any thread.
  std::optional<absl::Time> silent_since() const;

 private:
  KafkaPulse(KafkaHandle handle, Options options);
  void run();

  const KafkaHandle handle_;
  const Options options_;

  mutable std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::optional<absl::Time> silent_since_;
  // Last, so that it finds all else there.
  std::thread thread_;
};

}  // namespace segmentd
