#include "stream/kafka_client.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>

namespace segmentd {
namespace {

struct Setting {
  const char* name;
  const char* value;
};

// Defaults that a user may change.
constexpr std::array kCommonDefaults = {
    Setting{"client.id", "segmentd"},
    Setting{"reconnect.backoff.ms", "50"},
    Setting{"reconnect.backoff.max.ms", "2000"},
    Setting{"topic.metadata.refresh.interval.ms", "30000"},
    // Usage data for the broker's operator; nothing that segmentd needs.
    Setting{"enable.metrics.push", "false"},
};
constexpr std::array kMemberDefaults = {
    Setting{"session.timeout.ms", "10000"},
    Setting{"heartbeat.interval.ms", "1000"},
};
constexpr std::array kReaderDefaults = {
    // A fetch in flight delays a partition that is newly assigned.
    Setting{"fetch.wait.max.ms", "100"},
    Setting{"fetch.error.backoff.ms", "100"},
    // What is fetched ahead, for each partition.
    Setting{"queued.min.messages", "20000"},
    Setting{"queued.max.messages.kbytes", "16384"},
};
constexpr std::array kWriterDefaults = {
    // The coordinator is still at the transaction before for some milliseconds, and says so: the
    // default of 100 ms would be most of a commit's time.
    Setting{"retry.backoff.ms", "5"},
    Setting{"compression.codec", "lz4"},
};

// Settings that exactly-once, the clock and the speed depend on; the user can't set them.
constexpr std::array kCommonFixed = {
    // Otherwise small requests wait for the acknowledgement of the one before.
    Setting{"socket.nagle.disable", "true"},
};
constexpr const char* kIsolation = "isolation.level";
constexpr const char* kUncommitted = "read_uncommitted";
constexpr std::array kMemberFixed = {
    Setting{"enable.auto.commit", "false"},
    Setting{"enable.auto.offset.store", "false"},
    Setting{kIsolation, "read_committed"},
    Setting{"group.protocol", "classic"},
    Setting{"partition.assignment.strategy", "cooperative-sticky"},
};
constexpr std::array kReaderFixed = {
    Setting{"enable.auto.commit", "false"},
    Setting{"enable.auto.offset.store", "false"},
    Setting{kIsolation, "read_committed"},
    Setting{"auto.offset.reset", "error"},
    Setting{"enable.partition.eof", "true"},
    Setting{"check.crcs", "true"},
    // How long fetching stops after the local queue was full.
    Setting{"fetch.queue.backoff.ms", "1"},
};
constexpr std::array kAskerFixed = {
    Setting{kIsolation, kUncommitted},
};
constexpr std::array kWriterFixed = {
    Setting{"enable.idempotence", "true"},
    Setting{"acks", "all"},
    // The topics' own limits decide, on the broker.
    Setting{"message.max.bytes", "100000000"},
};

constexpr absl::Duration kOffsetsRetry = absl::Milliseconds(100);

bool Begins(std::string_view name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// Whether a user's setting says something to this role: librdkafka warns of those that do not.
bool Concerns(std::string_view name, KafkaRole role) {
  if (Begins(name, {"fetch.", "queued.", "max.partition.fetch."}))
    return role == KafkaRole::kReader;
  if (Begins(name, {"session.timeout.", "heartbeat.", "max.poll."}))
    return role == KafkaRole::kMember;
  if (Begins(name, {"compression."})) return role == KafkaRole::kWriter;
  return true;
}

void Log(const rd_kafka_t* handle, int level, const char* facility, const char* text) {
  // Syslog's levels. What is an error is for those to say who get it as one: being fenced is none,
  // for example.
  const std::string_view subject = facility;
  // A new session waits for the end of the one before, and the one before ends with records left:
  // both in the normal course.
  if (subject == "GETPID" || subject == "TERMINATE") level = std::max(level, 6);
  const auto to = level <= 4   ? spdlog::level::warn
                  : level <= 6 ? spdlog::level::info
                               : spdlog::level::debug;
  spdlog::log(to, "kafka client {}: {}: {}", handle == nullptr ? "" : rd_kafka_name(handle),
              facility, text);
}

int LogStatistics(rd_kafka_t* handle, char* json, size_t length, void*) {
  spdlog::debug("kafka client {}: statistics: {}", rd_kafka_name(handle),
                std::string_view(json, length));
  return 0;
}

absl::StatusCode CodeOf(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
      return absl::StatusCode::kOk;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
      return absl::StatusCode::kPermissionDenied;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
      return absl::StatusCode::kUnauthenticated;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
      return absl::StatusCode::kNotFound;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
      return absl::StatusCode::kOutOfRange;
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
      return absl::StatusCode::kDataLoss;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
      return absl::StatusCode::kInvalidArgument;
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
      return absl::StatusCode::kAlreadyExists;
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
      return absl::StatusCode::kAborted;
    case RD_KAFKA_RESP_ERR__STATE:
      return absl::StatusCode::kFailedPrecondition;
    default:
      return IsPassingKafkaError(error) ? absl::StatusCode::kUnavailable
                                        : absl::StatusCode::kInternal;
  }
}

bool IsAsker(rd_kafka_t* handle) {
  char value[32] = "";
  size_t size = sizeof(value);
  return rd_kafka_conf_get(rd_kafka_conf(handle), kIsolation, value, &size) == RD_KAFKA_CONF_OK &&
         std::string_view(value) == kUncommitted;
}

}  // namespace

void ReportKafkaError(rd_kafka_t* handle, int error, const char* reason, void*) {
  const auto code = static_cast<rd_kafka_resp_err_t>(error);
  // Connections that fail are logged as such already.
  spdlog::log(IsPassingKafkaError(code) ? spdlog::level::debug : spdlog::level::warn,
              "kafka client {}: {}: {}", rd_kafka_name(handle), rd_kafka_err2name(code), reason);
}

bool IsPassingKafkaError(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__WAIT_CACHE:
    case RD_KAFKA_RESP_ERR__IN_PROGRESS:
    case RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR__RETRY:
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
    case RD_KAFKA_RESP_ERR__LOG_TRUNCATION:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS:
    case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
      return true;
    default:
      return false;
  }
}

absl::Status KafkaStatus(rd_kafka_resp_err_t error, std::string_view what,
                         std::string_view detail) {
  return absl::Status(CodeOf(error),
                      fmt::format("{}: {}: {}", what, rd_kafka_err2name(error),
                                  detail.empty() ? rd_kafka_err2str(error) : detail));
}

absl::Status KafkaStatus(const rd_kafka_error_t& error, std::string_view what) {
  return KafkaStatus(rd_kafka_error_code(&error), what, rd_kafka_error_string(&error));
}

int KafkaTimeoutMs(absl::Duration timeout) {
  const int64_t ms = absl::ToInt64Milliseconds(timeout);
  return static_cast<int>(std::clamp<int64_t>(ms, 1, 3'600'000));
}

absl::StatusOr<KafkaConf> MakeKafkaConf(
    const KafkaSettings& settings, KafkaRole role,
    const std::vector<std::pair<std::string, std::string>>& more) {
  KafkaConf conf(rd_kafka_conf_new());
  absl::Status status;
  auto set = [&](const std::string& name, const std::string& value) {
    char why[512] = "";
    if (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), why, sizeof(why)) !=
            RD_KAFKA_CONF_OK &&
        status.ok()) {
      status = absl::InternalError(
          fmt::format("Kafka client setting \"{}\" was not taken: {}", name,
                      IsSecretKafkaSetting(name) ? std::string_view("the value") : why));
    }
  };
  auto set_all = [&](absl::Span<const Setting> list) {
    for (const Setting& setting : list) set(setting.name, setting.value);
  };
  set_all(kCommonDefaults);
  if (role == KafkaRole::kMember) set_all(kMemberDefaults);
  if (role == KafkaRole::kReader) set_all(kReaderDefaults);
  if (role == KafkaRole::kWriter) set_all(kWriterDefaults);
  for (const auto& [name, value] : settings.client()) {
    if (Concerns(name, role)) set(name, value);
  }
  set("bootstrap.servers", settings.bootstrap_servers());
  set_all(kCommonFixed);
  if (role == KafkaRole::kMember) set_all(kMemberFixed);
  if (role == KafkaRole::kReader) set_all(kReaderFixed);
  if (role == KafkaRole::kAsker) set_all(kAskerFixed);
  if (role == KafkaRole::kWriter) set_all(kWriterFixed);
  for (const auto& [name, value] : more) set(name, value);
  if (!status.ok()) return status;
  rd_kafka_conf_set_log_cb(conf.get(), Log);
  rd_kafka_conf_set_error_cb(conf.get(), ReportKafkaError);
  rd_kafka_conf_set_stats_cb(conf.get(), LogStatistics);
  return conf;
}

absl::StatusOr<KafkaHandle> MakeKafkaHandle(KafkaRole role, KafkaConf conf) {
  char why[512] = "";
  KafkaHandle handle(
      rd_kafka_new(role == KafkaRole::kWriter ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf.get(),
                   why, sizeof(why)));
  if (handle == nullptr) {
    return absl::InvalidArgumentError(fmt::format("the Kafka client does not start: {}", why));
  }
  // The handle's now.
  (void)conf.release();
  if (role == KafkaRole::kMember || role == KafkaRole::kReader) {
    rd_kafka_poll_set_consumer(handle.get());
  }
  return handle;
}

void CloseKafkaConsumer(KafkaHandle handle, absl::Duration limit) {
  if (handle == nullptr) return;
  const absl::Time deadline = absl::Now() + limit;
  KafkaQueue queue(rd_kafka_queue_get_consumer(handle.get()));
  KafkaError error(rd_kafka_consumer_close_queue(handle.get(), queue.get()));
  while (error == nullptr && rd_kafka_consumer_closed(handle.get()) == 0 &&
         absl::Now() < deadline) {
    // Serves the rebalance callback too.
    rd_kafka_message_t* message = nullptr;
    if (rd_kafka_consume_batch_queue(queue.get(), 20, &message, 1) == 1) {
      rd_kafka_message_destroy(message);
    }
  }
  if (error == nullptr && rd_kafka_consumer_closed(handle.get()) == 0) {
    spdlog::warn("kafka client {}: not closed after {}, left without", rd_kafka_name(handle.get()),
                 absl::FormatDuration(limit));
  }
  queue.reset();
  rd_kafka_destroy_flags(handle.release(), RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

absl::StatusOr<int32_t> KafkaPartitionCount(rd_kafka_t* handle, const std::string& topic,
                                            absl::Duration timeout) {
  const std::string what = fmt::format("asking for the partitions of topic {}", topic);
  KafkaTopic local(rd_kafka_topic_new(handle, topic.c_str(), nullptr));
  if (local == nullptr) return KafkaStatus(rd_kafka_last_error(), what);
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(handle, 0, local.get(), &metadata, KafkaTimeoutMs(timeout));
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return KafkaStatus(error, what);
  const KafkaPtr<const rd_kafka_metadata_t, rd_kafka_metadata_destroy> owner(metadata);
  if (metadata->topic_cnt != 1) return KafkaStatus(RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, what);
  if (metadata->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaStatus(metadata->topics[0].err, what);
  }
  return metadata->topics[0].partition_cnt;
}

// Not with rd_kafka_ListOffsets(), which would not block: as long as a leader is not known, the
// calling thread and the client's own go on with one and the same request, and the one uses what
// the other has freed.
absl::StatusOr<std::map<Partition, int64_t>> AskKafkaOffsets(rd_kafka_t* handle,
                                                             const std::string& topic,
                                                             absl::Span<const Partition> partitions,
                                                             KafkaOffset which,
                                                             absl::Duration timeout) {
  const bool asker = IsAsker(handle);
  if (which != KafkaOffset::kFirst && asker != (which == KafkaOffset::kNext)) {
    return absl::InternalError("the client can't tell this offset: it has another role");
  }
  const KafkaPartitions list(
      rd_kafka_topic_partition_list_new(static_cast<int>(partitions.size())));
  for (const Partition partition : partitions) {
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset =
        which == KafkaOffset::kFirst ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
  }
  const rd_kafka_resp_err_t error =
      rd_kafka_offsets_for_times(handle, list.get(), KafkaTimeoutMs(timeout));
  // Its errors and statistics, which nobody else takes out.
  if (asker) rd_kafka_poll(handle, 0);
  std::map<Partition, int64_t> offsets;
  // So the client tells that no partition has a leader, as while brokers come and go.
  if (error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION) return offsets;
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaStatus(error, fmt::format("asking for the offsets of topic {}", topic));
  }
  for (const rd_kafka_topic_partition_t& found :
       absl::MakeConstSpan(list->elems, static_cast<size_t>(list->cnt))) {
    if (found.err == RD_KAFKA_RESP_ERR_NO_ERROR && found.offset >= 0) {
      offsets[found.partition] = found.offset;
    }
  }
  return offsets;
}

absl::StatusOr<std::map<Partition, int64_t>> KafkaOffsets(rd_kafka_t* handle,
                                                          const std::string& topic,
                                                          absl::Span<const Partition> partitions,
                                                          KafkaOffset which,
                                                          absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    absl::StatusOr<std::map<Partition, int64_t>> offsets =
        AskKafkaOffsets(handle, topic, partitions, which, deadline - absl::Now());
    if (offsets.ok()) {
      const auto silent = std::find_if(partitions.begin(), partitions.end(),
                                       [&](Partition p) { return !offsets->contains(p); });
      if (silent == partitions.end()) return offsets;
      offsets = absl::UnavailableError(
          fmt::format("no answer about the offsets of topic {}, partition {}", topic, *silent));
    }
    if (!absl::IsUnavailable(offsets.status()) || absl::Now() + kOffsetsRetry >= deadline) {
      return offsets;
    }
    absl::SleepFor(kOffsetsRetry);
    // What the client knows of leaders is as of the last answer: it would not ask again.
    const auto count = KafkaPartitionCount(handle, topic, deadline - absl::Now());
    if (!count.ok() && !absl::IsUnavailable(count.status())) return count.status();
  }
}

void KafkaMessages::take(rd_kafka_queue_t* queue, absl::Duration wait) {
  clear();
  // A batch waits until it is full or the time is over, so the wait is for one record only.
  const int wait_ms = wait > absl::ZeroDuration() ? KafkaTimeoutMs(wait) : 0;
  if (rd_kafka_consume_batch_queue(queue, wait_ms, messages_.data(), 1) != 1) return;
  const ssize_t more =
      rd_kafka_consume_batch_queue(queue, 0, messages_.data() + 1, messages_.size() - 1);
  size_ = 1 + (more > 0 ? static_cast<size_t>(more) : 0);
}

void KafkaMessages::clear() {
  for (size_t i = 0; i < size_; ++i) rd_kafka_message_destroy(messages_[i]);
  size_ = 0;
}

}  // namespace segmentd
