#include "stream/kafka_changelog.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/time/clock.h"

namespace segmentd {
namespace {

constexpr size_t kBatch = 4096;
constexpr absl::Duration kWait = absl::Milliseconds(100);
constexpr absl::Duration kProgressEvery = absl::Milliseconds(200);
constexpr absl::Duration kCloseLimit = absl::Seconds(5);

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaChangelog>> KafkaChangelog::Create(
    const KafkaSettings& settings, Options options) {
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings, KafkaRole::kReader, {{"group.id", options.group}});
  if (!conf.ok()) return conf.status();
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kReader, *std::move(conf));
  if (!handle.ok()) return handle.status();
  std::unique_ptr<KafkaChangelog> changelog(new KafkaChangelog(settings, std::move(options)));
  changelog->handle_ = *std::move(handle);
  changelog->records_.reset(rd_kafka_queue_get_consumer(changelog->handle_.get()));
  return changelog;
}

KafkaChangelog::~KafkaChangelog() {
  records_.reset();
  CloseKafkaConsumer(std::move(handle_), kCloseLimit);
}

absl::Status KafkaChangelog::read(
    Partition partition,
    absl::FunctionRef<absl::Status(std::string_view key, std::optional<std::string_view> value)>
        record,
    absl::FunctionRef<void(int64_t offset, int64_t end)> progress) {
  const absl::StatusOr<int64_t> asked = end(partition);
  if (!asked.ok()) return asked.status();
  const int64_t end = *asked;
  progress(0, end);
  if (end == 0) return absl::OkStatus();

  const KafkaPartitions list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), options_.topic.c_str(), partition)->offset =
      RD_KAFKA_OFFSET_BEGINNING;
  if (const KafkaError error(rd_kafka_incremental_assign(handle_.get(), list.get()));
      error != nullptr) {
    return KafkaStatus(*error,
                       fmt::format("reading topic {}, partition {}", options_.topic, partition));
  }
  absl::Status status = read_to(partition, end, record, progress);
  const KafkaError error(rd_kafka_incremental_unassign(handle_.get(), list.get()));
  if (status.ok() && error != nullptr) {
    return KafkaStatus(
        *error, fmt::format("ending to read topic {}, partition {}", options_.topic, partition));
  }
  return status;
}

absl::StatusOr<int64_t> KafkaChangelog::end(Partition partition) const {
  absl::StatusOr<KafkaConf> conf = MakeKafkaConf(settings_, KafkaRole::kAsker);
  if (!conf.ok()) return conf.status();
  const absl::StatusOr<KafkaHandle> asker = MakeKafkaHandle(KafkaRole::kAsker, *std::move(conf));
  if (!asker.ok()) return asker.status();
  const auto ends = KafkaOffsets(asker->get(), options_.topic, {&partition, 1}, KafkaOffset::kNext,
                                 options_.timeout);
  if (!ends.ok()) return ends.status();
  return ends->at(partition);
}

absl::Status KafkaChangelog::read_to(
    Partition partition, int64_t end,
    absl::FunctionRef<absl::Status(std::string_view key, std::optional<std::string_view> value)>
        record,
    absl::FunctionRef<void(int64_t offset, int64_t end)> progress) {
  KafkaMessages messages(kBatch);
  // The next offset to be read. Behind the last record there may be markers: the report of the end
  // tells the position.
  int64_t position = 0;
  absl::Time told = absl::InfinitePast();
  absl::Time newest = absl::Now();
  while (position < end) {
    messages.take(records_.get(), kWait);
    const int64_t before = position;
    for (const rd_kafka_message_t* message : messages.all()) {
      // Left in the queue from an earlier reading.
      if (message->rkt != nullptr && message->partition != partition) continue;
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        position = message->offset;
      } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        absl::Status status = KafkaStatus(message->err,
                                          fmt::format("reading topic {}, partition {} at offset {}",
                                                      options_.topic, partition, position),
                                          rd_kafka_message_errstr(message));
        if (!IsPassingKafkaError(message->err)) return status;
        spdlog::warn("{}", std::string_view(status.message().data(), status.message().size()));
      } else if (message->offset < end) {
        position = message->offset + 1;
        absl::Status status =
            record(KafkaKey(*message), message->payload == nullptr
                                           ? std::nullopt
                                           : std::optional<std::string_view>(KafkaValue(*message)));
        if (!status.ok()) {
          return absl::Status(
              status.code(),
              fmt::format("topic {}, partition {}, offset {}: {}", options_.topic, partition,
                          message->offset,
                          std::string_view(status.message().data(), status.message().size())));
        }
      } else {
        position = message->offset;
      }
      if (position >= end) break;
    }
    const absl::Time now = absl::Now();
    if (position > before) newest = now;
    if (now - told >= kProgressEvery || position >= end) {
      told = now;
      progress(position, end);
    }
    if (now - newest > options_.timeout) {
      return absl::UnavailableError(fmt::format(
          "topic {}, partition {}: nothing to read at offset {} for {} s, but the end is {}: no "
          "broker "
          "answers, or a transaction is open there that nobody ends",
          options_.topic, partition, position, absl::ToInt64Seconds(options_.timeout), end));
    }
  }
  return absl::OkStatus();
}

}  // namespace segmentd
