// What all uses of librdkafka share: ownership, settings that are never the user's, logs, and its
// errors as statuses.
#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "stream/io.h"
#include "stream/kafka_settings.h"

namespace segmentd {

template <auto kDestroy>
struct KafkaDelete {
  template <typename T>
  void operator()(T* t) const {
    kDestroy(t);
  }
};
template <typename T, auto kDestroy>
using KafkaPtr = std::unique_ptr<T, KafkaDelete<kDestroy>>;

using KafkaConf = KafkaPtr<rd_kafka_conf_t, rd_kafka_conf_destroy>;
using KafkaHandle = KafkaPtr<rd_kafka_t, rd_kafka_destroy>;
using KafkaQueue = KafkaPtr<rd_kafka_queue_t, rd_kafka_queue_destroy>;
using KafkaError = KafkaPtr<rd_kafka_error_t, rd_kafka_error_destroy>;
using KafkaEvent = KafkaPtr<rd_kafka_event_t, rd_kafka_event_destroy>;
using KafkaTopic = KafkaPtr<rd_kafka_topic_t, rd_kafka_topic_destroy>;
using KafkaPartitions =
    KafkaPtr<rd_kafka_topic_partition_list_t, rd_kafka_topic_partition_list_destroy>;

enum class KafkaRole : uint8_t {
  // Member of a consumer group that reads nothing itself.
  kMember,
  // Reads what is assigned to it by hand, committed records only.
  kReader,
  // Asks where topics end, records of open transactions counted. Reads nothing, and its queue has
  // to be polled by nobody: asking does it.
  kAsker,
  // Writes, idempotently, each record acknowledged by all in-sync replicas.
  kWriter,
};

// `more` wins over the user's settings, which win over the defaults of the role. INTERNAL for a
// setting that librdkafka does not take: those of the user were checked before.
absl::StatusOr<KafkaConf> MakeKafkaConf(
    const KafkaSettings& settings, KafkaRole role,
    const std::vector<std::pair<std::string, std::string>>& more = {});

// What a configuration calls with a client's errors that come with no record, unless it is given
// another: logs them.
void ReportKafkaError(rd_kafka_t* handle, int error, const char* reason, void* opaque);

// Takes over the configuration.
absl::StatusOr<KafkaHandle> MakeKafkaHandle(KafkaRole role, KafkaConf conf);

// Closes a consumer within `limit`: its close may hang, and then it is left without. A static
// member stays in its group.
void CloseKafkaConsumer(KafkaHandle handle, absl::Duration limit);

// For timeout arguments: at least 1 ms, so that a short wait is none too short to be one.
int KafkaTimeoutMs(absl::Duration timeout);

// UNAVAILABLE for what may pass (no broker, timeouts, leader elections), else the canonical code
// that fits; `what` says what was being done, with topic and partition.
absl::Status KafkaStatus(rd_kafka_resp_err_t error, std::string_view what,
                         std::string_view detail = "");
absl::Status KafkaStatus(const rd_kafka_error_t& error, std::string_view what);

// Whether waiting may help.
bool IsPassingKafkaError(rd_kafka_resp_err_t error);

// Partitions of a topic; NOT_FOUND when there is no such topic.
absl::StatusOr<int32_t> KafkaPartitionCount(rd_kafka_t* handle, const std::string& topic,
                                            absl::Duration timeout);

enum class KafkaOffset : uint8_t {
  // The first held.
  kFirst,
  // Where the next record will be; transaction markers, and records of open transactions, are
  // counted. Only a kAsker's client can tell.
  kNext,
  // Where the oldest open transaction begins, else as kNext: the end of what is committed. The
  // client of any other role tells.
  kStable,
};
// Offsets of one topic, asked of the brokers. Waits for leaders and answers that are missing;
// UNAVAILABLE unless every partition answered in time.
absl::StatusOr<std::map<Partition, int64_t>> KafkaOffsets(rd_kafka_t* handle,
                                                          const std::string& topic,
                                                          absl::Span<const Partition> partitions,
                                                          KafkaOffset which,
                                                          absl::Duration timeout);

// Asks once. Partitions that the client knows no leader of are left out; it looks for one anew when
// it is asked for the topic's partitions.
absl::StatusOr<std::map<Partition, int64_t>> AskKafkaOffsets(rd_kafka_t* handle,
                                                             const std::string& topic,
                                                             absl::Span<const Partition> partitions,
                                                             KafkaOffset which,
                                                             absl::Duration timeout);

// Records got from a queue, freed together.
class KafkaMessages {
 public:
  explicit KafkaMessages(size_t capacity) : messages_(capacity) {}
  ~KafkaMessages() { clear(); }
  KafkaMessages(const KafkaMessages&) = delete;
  KafkaMessages& operator=(const KafkaMessages&) = delete;

  // Frees the present ones, waits up to `wait` for a first record and takes with it what else is
  // there. Returns early, and with nothing, when the queue is told to yield.
  void take(rd_kafka_queue_t* queue, absl::Duration wait);
  void clear();

  absl::Span<rd_kafka_message_t* const> all() const { return {messages_.data(), size_}; }

 private:
  std::vector<rd_kafka_message_t*> messages_;
  size_t size_ = 0;
};

inline std::string_view KafkaKey(const rd_kafka_message_t& message) {
  return {static_cast<const char*>(message.key), message.key_len};
}
inline std::string_view KafkaValue(const rd_kafka_message_t& message) {
  return {static_cast<const char*>(message.payload), message.len};
}

}  // namespace segmentd
