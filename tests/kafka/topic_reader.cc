#include "tests/kafka/topic_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "absl/time/clock.h"

#include "tests/kafka/failure.h"

namespace segmentd {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(60);

}  // namespace

TopicReader::TopicReader(const std::string& bootstrap_servers, std::string topic)
    : topic_(std::move(topic)) {
  const KafkaSettings settings = Must(KafkaSettings::Parse(bootstrap_servers));
  handle_ = Must(MakeKafkaHandle(
      KafkaRole::kReader,
      Must(MakeKafkaConf(settings, KafkaRole::kReader, {{"group.id", topic_ + "-reader"}}))));
  stable_end_ =
      Must(MakeKafkaHandle(KafkaRole::kWriter, Must(MakeKafkaConf(settings, KafkaRole::kWriter))));
  next_offset_ =
      Must(MakeKafkaHandle(KafkaRole::kAsker, Must(MakeKafkaConf(settings, KafkaRole::kAsker))));
  const int32_t count = Must(KafkaPartitionCount(handle_.get(), topic_, kLimit));
  const KafkaPartitions list(rd_kafka_topic_partition_list_new(count));
  for (Partition p = 0; p < count; ++p) {
    partitions_.push_back(p);
    positions_[p] = 0;
    rd_kafka_topic_partition_list_add(list.get(), topic_.c_str(), p)->offset = 0;
  }
  if (rd_kafka_assign(handle_.get(), list.get()) != RD_KAFKA_RESP_ERR_NO_ERROR)
    Fail(fmt::format("{} can't be assigned", topic_));
}

std::vector<TopicRecord> TopicReader::read_to_end() {
  const std::map<Partition, int64_t> ends =
      Must(KafkaOffsets(stable_end_.get(), topic_, partitions_, KafkaOffset::kStable, kLimit));
  const auto at_end = [&] {
    return std::all_of(ends.begin(), ends.end(),
                       [&](const auto& end) { return positions_.at(end.first) >= end.second; });
  };
  std::vector<TopicRecord> records;
  const absl::Time until = absl::Now() + kLimit;
  while (!at_end()) {
    if (absl::Now() > until) Fail(fmt::format("{} can't be read to its end", topic_));
    const KafkaPtr<rd_kafka_message_t, rd_kafka_message_destroy> message(
        rd_kafka_consumer_poll(handle_.get(), 100));
    if (message == nullptr) continue;
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      positions_[message->partition] = std::max(positions_[message->partition], message->offset);
      continue;
    }
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      if (IsPassingKafkaError(message->err)) continue;
      Fail(rd_kafka_message_errstr(message.get()));
    }
    positions_[message->partition] = message->offset + 1;
    TopicRecord record{.partition = message->partition,
                       .offset = message->offset,
                       .has_key = message->key != nullptr,
                       .key = std::string(KafkaKey(*message)),
                       .has_value = message->payload != nullptr,
                       .value = std::string(KafkaValue(*message)),
                       .headers = {}};
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(message.get(), &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
      const char* name = nullptr;
      const void* value = nullptr;
      size_t size = 0;
      for (size_t i = 0;
           rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
           ++i) {
        record.headers.emplace_back(
            name, value == nullptr ? std::nullopt
                                   : std::optional<std::string>(
                                         std::in_place, static_cast<const char*>(value), size));
      }
    }
    records.push_back(std::move(record));
  }
  return records;
}

bool TopicReader::has_open_transaction() {
  // In this order: what is committed in between is not taken for open.
  const std::map<Partition, int64_t> next =
      Must(KafkaOffsets(next_offset_.get(), topic_, partitions_, KafkaOffset::kNext, kLimit));
  const std::map<Partition, int64_t> stable =
      Must(KafkaOffsets(stable_end_.get(), topic_, partitions_, KafkaOffset::kStable, kLimit));
  return std::any_of(partitions_.begin(), partitions_.end(),
                     [&](Partition p) { return stable.at(p) < next.at(p); });
}

}  // namespace segmentd
