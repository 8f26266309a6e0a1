#include "stream/kafka_topics.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>
#include <vector>

#include "absl/time/clock.h"

#include "stream/kafka_client.h"

namespace segmentd {
namespace {

using Config = std::map<std::string, std::string>;

// A dead letter is the record and what went wrong: it needs more room than the record.
constexpr int64_t kDeadLetterOverhead = 64 << 10;
// A value of 1 MiB with its key and headers.
constexpr int64_t kMaxStateMessageBytes = 1'200'000;
// Kafka's default.
constexpr int64_t kDefaultMessageBytes = 1'048'588;

enum class Cleanup : uint8_t { kDelete, kCompact };

// What a topic must be, and how it is created.
struct Wanted {
  std::string name;
  // 0: any number.
  int32_t partitions = 0;
  // By user: more partitions would part users from what is here.
  bool holds_states = false;
  Cleanup cleanup = Cleanup::kDelete;
  std::string why_cleanup;
  int64_t min_message_bytes = 0;
  std::string why_message_bytes;
  Config config;
};

struct Found {
  int32_t partitions = 0;
  Config config;
};

class Preparation {
 public:
  Preparation(const KafkaSettings& settings, const TopicCreation& creation, absl::Time deadline,
              KafkaHandle handle)
      : settings_(settings), creation_(creation), deadline_(deadline), handle_(std::move(handle)) {}

  // Makes the topic if it is missing, checks it otherwise. What is wrong with it is kept for
  // problems().
  absl::StatusOr<Found> prepare(const Wanted& wanted);

  // Of all topics prepared.
  absl::Status problems() const;

 private:
  absl::Duration left() const { return std::max(deadline_ - absl::Now(), absl::Milliseconds(1)); }
  // NOT_FOUND: there is no such topic.
  absl::StatusOr<int32_t> partitions(const std::string& topic);
  absl::StatusOr<int32_t> replication_factor();
  absl::Status create(const Wanted& wanted, int32_t partitions);
  // How many it has, when they have leaders or are other than `partitions`.
  absl::StatusOr<int32_t> wait_for(const std::string& topic, int32_t partitions);
  absl::StatusOr<Config> config(const std::string& topic);
  void check(const Wanted& wanted, const Found& found);
  std::string create_command(const Wanted& wanted, int32_t partitions, int32_t replicas) const;
  std::string config_command(const std::string& topic, std::string_view setting) const;

  const KafkaSettings& settings_;
  const TopicCreation& creation_;
  absl::Time deadline_;
  KafkaHandle handle_;
  std::vector<std::string> problems_;
};

absl::StatusOr<Found> Preparation::prepare(const Wanted& wanted) {
  Found found;
  absl::StatusOr<int32_t> count = partitions(wanted.name);
  if (!count.ok() && count.status().code() != absl::StatusCode::kNotFound) return count.status();
  if (count.ok()) {
    found.partitions = *count;
  } else {
    found.partitions = wanted.partitions > 0 ? wanted.partitions : creation_.partitions;
    if (absl::Status status = create(wanted, found.partitions); !status.ok()) return status;
    // Another instance may have been first, with another number.
    count = wait_for(wanted.name, found.partitions);
    if (!count.ok()) return count.status();
    found.partitions = *count;
  }
  absl::StatusOr<Config> config_found = config(wanted.name);
  if (!config_found.ok()) return config_found.status();
  found.config = *std::move(config_found);
  check(wanted, found);
  return found;
}

absl::Status Preparation::problems() const {
  if (problems_.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("{}", fmt::join(problems_, "\n")));
}

absl::StatusOr<int32_t> Preparation::partitions(const std::string& topic) {
  while (true) {
    absl::StatusOr<int32_t> count = KafkaPartitionCount(handle_.get(), topic, left());
    if (count.ok() || count.status().code() != absl::StatusCode::kUnavailable) return count;
    if (absl::Now() >= deadline_) return count;
    absl::SleepFor(absl::Milliseconds(50));
  }
}

absl::StatusOr<int32_t> Preparation::replication_factor() {
  if (creation_.replication_factor) return *creation_.replication_factor;
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(handle_.get(), 0, nullptr, &metadata, KafkaTimeoutMs(left()));
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return KafkaStatus(error, "asking for the brokers");
  const int32_t brokers = metadata->broker_cnt;
  rd_kafka_metadata_destroy(metadata);
  return std::clamp(brokers, 1, 3);
}

absl::Status Preparation::create(const Wanted& wanted, int32_t partitions) {
  const absl::StatusOr<int32_t> replicas = replication_factor();
  if (!replicas.ok()) return replicas.status();
  if (!creation_.enabled) {
    return absl::FailedPreconditionError(
        fmt::format("topic {} is missing, and topics are not to be created. Create it: {}",
                    wanted.name, create_command(wanted, partitions, *replicas)));
  }
  char why[512] = "";
  const KafkaPtr<rd_kafka_NewTopic_t, rd_kafka_NewTopic_destroy> topic(
      rd_kafka_NewTopic_new(wanted.name.c_str(), partitions, *replicas, why, sizeof(why)));
  if (topic == nullptr) {
    return absl::InvalidArgumentError(fmt::format("topic {}: {}", wanted.name, why));
  }
  for (const auto& [name, value] : wanted.config) {
    rd_kafka_NewTopic_set_config(topic.get(), name.c_str(), value.c_str());
  }
  // A copy that all others wait for: a record acknowledged survives the loss of a broker.
  rd_kafka_NewTopic_set_config(topic.get(), "min.insync.replicas", *replicas >= 3 ? "2" : "1");
  rd_kafka_NewTopic_set_config(topic.get(), "unclean.leader.election.enable", "false");

  const KafkaQueue queue(rd_kafka_queue_new(handle_.get()));
  const KafkaPtr<rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy> options(
      rd_kafka_AdminOptions_new(handle_.get(), RD_KAFKA_ADMIN_OP_CREATETOPICS));
  rd_kafka_AdminOptions_set_request_timeout(options.get(), KafkaTimeoutMs(left()), nullptr, 0);
  rd_kafka_AdminOptions_set_operation_timeout(options.get(), KafkaTimeoutMs(left()), nullptr, 0);
  rd_kafka_NewTopic_t* list[] = {topic.get()};
  rd_kafka_CreateTopics(handle_.get(), list, 1, options.get(), queue.get());
  const KafkaEvent event(rd_kafka_queue_poll(queue.get(), KafkaTimeoutMs(left()) + 1000));
  const std::string what = fmt::format("creating topic {}", wanted.name);
  if (event == nullptr) return absl::UnavailableError(fmt::format("{}: no answer", what));
  rd_kafka_resp_err_t error = rd_kafka_event_error(event.get());
  const char* text = rd_kafka_event_error_string(event.get());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
    size_t count = 0;
    const rd_kafka_topic_result_t** results = rd_kafka_CreateTopics_result_topics(
        rd_kafka_event_CreateTopics_result(event.get()), &count);
    if (count == 1) {
      error = rd_kafka_topic_result_error(results[0]);
      text = rd_kafka_topic_result_error_string(results[0]);
    }
  }
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
    return absl::OkStatus();
  }
  const absl::Status status = KafkaStatus(error, what, text == nullptr ? "" : text);
  return absl::Status(
      status.code(), fmt::format("{}. Or create it by hand: {}",
                                 std::string_view(status.message().data(), status.message().size()),
                                 create_command(wanted, partitions, *replicas)));
}

// A topic is created before its partitions have leaders, and before every broker knows of it.
absl::StatusOr<int32_t> Preparation::wait_for(const std::string& topic, int32_t partitions) {
  std::vector<Partition> all(static_cast<size_t>(partitions));
  for (int32_t i = 0; i < partitions; ++i) all[static_cast<size_t>(i)] = i;
  while (true) {
    absl::Status status;
    const absl::StatusOr<int32_t> count = KafkaPartitionCount(handle_.get(), topic, left());
    if (!count.ok()) {
      status = count.status();
    } else if (*count != partitions) {
      return *count;
    } else {
      status = KafkaOffsets(handle_.get(), topic, all, KafkaOffset::kStable,
                            std::min(left(), absl::Seconds(1)))
                   .status();
    }
    if (status.ok()) return *count;
    if (absl::Now() >= deadline_) return status;
    absl::SleepFor(absl::Milliseconds(20));
  }
}

absl::StatusOr<Config> Preparation::config(const std::string& topic) {
  const std::string what = fmt::format("reading the settings of topic {}", topic);
  const KafkaPtr<rd_kafka_ConfigResource_t, rd_kafka_ConfigResource_destroy> resource(
      rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()));
  rd_kafka_ConfigResource_t* list[] = {resource.get()};
  const KafkaPtr<rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy> options(
      rd_kafka_AdminOptions_new(handle_.get(), RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS));
  while (true) {
    const KafkaQueue queue(rd_kafka_queue_new(handle_.get()));
    rd_kafka_AdminOptions_set_request_timeout(options.get(), KafkaTimeoutMs(left()), nullptr, 0);
    rd_kafka_DescribeConfigs(handle_.get(), list, 1, options.get(), queue.get());
    const KafkaEvent event(rd_kafka_queue_poll(queue.get(), KafkaTimeoutMs(left()) + 1000));
    if (event == nullptr) return absl::UnavailableError(fmt::format("{}: no answer", what));
    rd_kafka_resp_err_t error = rd_kafka_event_error(event.get());
    size_t count = 0;
    const rd_kafka_ConfigResource_t** resources = nullptr;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      resources = rd_kafka_DescribeConfigs_result_resources(
          rd_kafka_event_DescribeConfigs_result(event.get()), &count);
      error = count == 1 ? rd_kafka_ConfigResource_error(resources[0]) : RD_KAFKA_RESP_ERR__FAIL;
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      Config config;
      const rd_kafka_ConfigEntry_t** entries =
          rd_kafka_ConfigResource_configs(resources[0], &count);
      for (const rd_kafka_ConfigEntry_t* entry : absl::MakeConstSpan(entries, count)) {
        const char* value = rd_kafka_ConfigEntry_value(entry);
        config[rd_kafka_ConfigEntry_name(entry)] = value == nullptr ? "" : value;
      }
      return config;
    }
    // The broker that was asked may not know a new topic yet.
    if ((!IsPassingKafkaError(error) && error != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) ||
        absl::Now() >= deadline_) {
      return KafkaStatus(error, what);
    }
    absl::SleepFor(absl::Milliseconds(50));
  }
}

void Preparation::check(const Wanted& wanted, const Found& found) {
  if (wanted.partitions > found.partitions && wanted.holds_states) {
    problems_.push_back(fmt::format(
        "topic {} has {} partitions and the events topic {}: partitions were added to it, so that "
        "users' events come in other partitions than their states are in. That can't be mended by "
        "adding partitions here: start anew, see \"The number of partitions\" in "
        "docs/operations.md",
        wanted.name, found.partitions, wanted.partitions));
  } else if (wanted.partitions > found.partitions) {
    problems_.push_back(fmt::format(
        "topic {} has {} partitions, but it must have {}, as many as the events topic: a user's "
        "records are in the same partition of both. Mend it while segmentd is stopped: "
        "kafka-topics.sh "
        "--bootstrap-server {} --alter --topic {} --partitions {}",
        wanted.name, found.partitions, wanted.partitions, settings_.bootstrap_servers(),
        wanted.name, wanted.partitions));
  } else if (wanted.partitions > 0 && wanted.partitions < found.partitions) {
    problems_.push_back(
        fmt::format("topic {} has {} partitions, but it must have {}. Partitions can't be taken "
                    "away: keep what you "
                    "need of it, delete it (kafka-topics.sh --bootstrap-server {} --delete --topic "
                    "{}) and start "
                    "again, or use another topic prefix",
                    wanted.name, found.partitions, wanted.partitions, settings_.bootstrap_servers(),
                    wanted.name));
  }

  const auto policy = found.config.find("cleanup.policy");
  const std::string is = policy == found.config.end() ? "delete" : policy->second;
  const bool compacted = is.find("compact") != std::string::npos;
  const bool right = wanted.cleanup == Cleanup::kCompact ? is == "compact" : !compacted;
  if (!right) {
    const std::string setting = fmt::format(
        "cleanup.policy={}", wanted.cleanup == Cleanup::kCompact ? "compact" : "delete");
    problems_.push_back(fmt::format(
        "topic {} has cleanup.policy={}, but it must have {}: {}. Mend it: {}", wanted.name, is,
        setting, wanted.why_cleanup, config_command(wanted.name, setting)));
  }

  const auto bytes = found.config.find("max.message.bytes");
  int64_t max_bytes = INT64_MAX;
  if (bytes != found.config.end()) {
    std::from_chars(bytes->second.data(), bytes->second.data() + bytes->second.size(), max_bytes);
  }
  if (max_bytes < wanted.min_message_bytes) {
    problems_.push_back(fmt::format(
        "topic {} has max.message.bytes={}, but it must have at least {}: {}. Mend it: {}",
        wanted.name, max_bytes, wanted.min_message_bytes, wanted.why_message_bytes,
        config_command(wanted.name,
                       fmt::format("max.message.bytes={}", wanted.min_message_bytes))));
  }
}

std::string Preparation::create_command(const Wanted& wanted, int32_t partitions,
                                        int32_t replicas) const {
  std::string command = fmt::format(
      "kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions {} "
      "--replication-factor {}",
      settings_.bootstrap_servers(), wanted.name, partitions, replicas);
  for (const auto& [name, value] : wanted.config) {
    command += fmt::format(" --config {}={}", name, value);
  }
  return command;
}

std::string Preparation::config_command(const std::string& topic, std::string_view setting) const {
  return fmt::format(
      "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} "
      "--add-config {}",
      settings_.bootstrap_servers(), topic, setting);
}

Wanted Events(const KafkaTopics& topics) {
  return {.name = topics.events,
          .cleanup = Cleanup::kDelete,
          .why_cleanup = "compaction would take away events that users' memberships depend on",
          .config = {{"cleanup.policy", "delete"},
                     {"message.timestamp.type", "CreateTime"},
                     // A record ahead of the clock would fire deadlines before their time.
                     {"message.timestamp.after.max.ms", "120000"}}};
}

Wanted Definitions(const KafkaTopics& topics) {
  return {.name = topics.definitions,
          .partitions = 1,
          .cleanup = Cleanup::kCompact,
          .why_cleanup = "segments would be forgotten with time",
          .config = {{"cleanup.policy", "compact"},
                     {"max.message.bytes", fmt::format("{}", kMaxStateMessageBytes)},
                     {"segment.ms", "86400000"},
                     {"delete.retention.ms", "604800000"}}};
}

Wanted Changes(const KafkaTopics& topics, int32_t partitions) {
  return {.name = topics.changes,
          .partitions = partitions,
          .cleanup = Cleanup::kDelete,
          .why_cleanup = "compaction would leave gaps in the numbers of the changes",
          .min_message_bytes = kMaxBatchBytes,
          .why_message_bytes = "changes are written together, up to so many bytes at once",
          .config = {{"cleanup.policy", "delete"},
                     {"max.message.bytes", fmt::format("{}", kDefaultMessageBytes)}}};
}

Wanted DeadLetters(const KafkaTopics& topics, int32_t partitions, int64_t event_bytes) {
  const int64_t bytes = std::max(event_bytes + kDeadLetterOverhead, kMaxBatchBytes);
  return {
      .name = topics.dead_letters,
      .partitions = partitions,
      .cleanup = Cleanup::kDelete,
      .why_cleanup = "compaction would take away all but a user's last dead letter",
      .min_message_bytes = bytes,
      .why_message_bytes =
          "the largest record of the events topic must fit in, with what was wrong with it, and "
          "records that are written together",
      .config = {{"cleanup.policy", "delete"}, {"max.message.bytes", fmt::format("{}", bytes)}}};
}

Wanted StateChangelog(const KafkaTopics& topics, int32_t partitions) {
  return {.name = topics.changelog,
          .partitions = partitions,
          .holds_states = true,
          .cleanup = Cleanup::kCompact,
          .why_cleanup = "it holds the newest state of every user, however old",
          // A part of an image, or records together, with what is around them.
          .min_message_bytes = kDefaultMessageBytes,
          .why_message_bytes = "users' states are written in parts of up to 1 MB",
          .config = {{"cleanup.policy", "compact"},
                     {"max.message.bytes", fmt::format("{}", kMaxStateMessageBytes)},
                     // Only closed segments are compacted, and what is not compacted must be read
                     // by a restore.
                     {"segment.bytes", "134217728"},
                     {"segment.ms", "3600000"},
                     {"min.cleanable.dirty.ratio", "0.3"},
                     // How old a reader's position may be without missing a tombstone.
                     {"delete.retention.ms", "86400000"}}};
}

}  // namespace

KafkaTopics::KafkaTopics(std::string_view prefix)
    : events(fmt::format("{}events", prefix)),
      definitions(fmt::format("{}segment-definitions", prefix)),
      changes(fmt::format("{}segment-membership-changes", prefix)),
      dead_letters(fmt::format("{}segment-dead-letters", prefix)),
      changelog(fmt::format("{}segment-state-changelog", prefix)) {}

absl::StatusOr<int32_t> PrepareKafkaTopics(const KafkaSettings& settings, const KafkaTopics& topics,
                                           const TopicCreation& creation, absl::Duration timeout) {
  absl::StatusOr<KafkaConf> conf = MakeKafkaConf(settings, KafkaRole::kReader);
  if (!conf.ok()) return conf.status();
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kReader, *std::move(conf));
  if (!handle.ok()) return handle.status();
  Preparation preparation(settings, creation, absl::Now() + timeout, *std::move(handle));

  const absl::StatusOr<Found> events = preparation.prepare(Events(topics));
  if (!events.ok()) return events.status();
  int64_t event_bytes = kDefaultMessageBytes;
  if (const auto it = events->config.find("max.message.bytes"); it != events->config.end()) {
    std::from_chars(it->second.data(), it->second.data() + it->second.size(), event_bytes);
  }
  const absl::StatusOr<Found> changelog =
      preparation.prepare(StateChangelog(topics, events->partitions));
  if (!changelog.ok()) return changelog.status();
  // The others are neither made nor to be made to follow then.
  if (changelog->partitions < events->partitions) return preparation.problems();
  for (const Wanted& wanted : {Definitions(topics), Changes(topics, events->partitions),
                               DeadLetters(topics, events->partitions, event_bytes)}) {
    if (absl::Status status = preparation.prepare(wanted).status(); !status.ok()) return status;
  }
  if (absl::Status status = preparation.problems(); !status.ok()) return status;
  return events->partitions;
}

}  // namespace segmentd
