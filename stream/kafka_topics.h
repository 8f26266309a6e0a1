// The topics: their names, and that they are there with the settings that segmentd relies on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "stream/kafka_settings.h"

namespace segmentd {

// Of records that are written together, as the broker counts them; a record larger than that goes
// alone.
inline constexpr int64_t kMaxBatchBytes = 1'000'000;

struct KafkaTopics {
  explicit KafkaTopics(std::string_view prefix = "");

  std::string events;
  std::string definitions;
  std::string changes;
  std::string dead_letters;
  std::string changelog;
};

struct TopicCreation {
  // Create what is missing; otherwise it is an error.
  bool enabled = true;
  // Of `events`; the others follow it.
  int32_t partitions = 4;
  // Absent: 3, or as many as there are brokers.
  std::optional<int32_t> replication_factor;
};

// Creates the topics that are missing and checks those that are there. Returns the partitions of
// `events`. FAILED_PRECONDITION tells, for every topic that is wrong, the setting, what it is, what
// it must be and the command that mends it.
absl::StatusOr<int32_t> PrepareKafkaTopics(const KafkaSettings& settings, const KafkaTopics& topics,
                                           const TopicCreation& creation, absl::Duration timeout);

}  // namespace segmentd
