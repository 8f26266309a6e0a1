#include "stream/kafka_history.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace segmentd {
namespace {

constexpr absl::Duration kCloseLimit = absl::Seconds(5);

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaHistory>> KafkaHistory::Create(const KafkaSettings& settings,
                                                                   Options options) {
  return std::unique_ptr<KafkaHistory>(new KafkaHistory(settings, std::move(options)));
}

KafkaHistory::~KafkaHistory() {
  messages_.clear();
  close();
  records_.reset();
  if (handle_ != nullptr) CloseKafkaConsumer(std::move(handle_), kCloseLimit);
}

absl::Status KafkaHistory::connect() {
  if (handle_ != nullptr) return absl::OkStatus();
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings_, KafkaRole::kReader, {{"group.id", options_.group}});
  if (!conf.ok()) return conf.status();
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kReader, *std::move(conf));
  if (!handle.ok()) return handle.status();
  handle_ = *std::move(handle);
  records_.reset(rd_kafka_queue_get_consumer(handle_.get()));
  return absl::OkStatus();
}

KafkaPartitions KafkaHistory::list() const {
  KafkaPartitions list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), options_.topic.c_str(), partition_);
  return list;
}

absl::StatusOr<Offset> KafkaHistory::open(Partition partition, Offset from) {
  close();
  if (absl::Status status = connect(); !status.ok()) return status;
  const auto first = KafkaOffsets(handle_.get(), options_.topic, {&partition, 1},
                                  KafkaOffset::kFirst, options_.timeout);
  if (!first.ok()) return first.status();
  const Offset begin = std::max(from, Offset(first->at(partition)));
  partition_ = partition;
  const KafkaPartitions list = this->list();
  list->elems[0].offset = begin.value();
  const KafkaError error(rd_kafka_incremental_assign(handle_.get(), list.get()));
  if (error != nullptr) {
    return KafkaStatus(*error, fmt::format("reading topic {}, partition {} from offset {}",
                                           options_.topic, partition, begin.value()));
  }
  open_ = true;
  return begin;
}

absl::StatusOr<const Batch*> KafkaHistory::poll(absl::Duration wait) {
  batch_.records.clear();
  batch_.ends.clear();
  messages_.take(records_.get(), wait);
  std::vector<std::pair<size_t, size_t>> places;
  headers_.clear();
  for (const rd_kafka_message_t* message : messages_.all()) {
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      if (message->partition == partition_) {
        batch_.ends.push_back({partition_, Offset(message->offset), Time::Min()});
      }
    } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      absl::Status status = KafkaStatus(message->err,
                                        fmt::format("reading topic {}, partition {} at offset {}",
                                                    options_.topic, partition_, message->offset),
                                        rd_kafka_message_errstr(message));
      if (!IsPassingKafkaError(message->err)) return status;
      spdlog::warn("{}", std::string_view(status.message().data(), status.message().size()));
    } else if (message->partition == partition_) {
      Record& record = batch_.records.emplace_back();
      record.partition = partition_;
      record.offset = Offset(message->offset);
      record.record_time = Time::Millis(rd_kafka_message_timestamp(message, nullptr));
      record.has_key = message->key != nullptr;
      record.key = KafkaKey(*message);
      record.value = KafkaValue(*message);
      rd_kafka_headers_t* headers = nullptr;
      const size_t begin = headers_.size();
      if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* name = nullptr;
        const void* value = nullptr;
        size_t size = 0;
        for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) ==
                           RD_KAFKA_RESP_ERR_NO_ERROR;
             ++i) {
          headers_.push_back({.name = name, .value = {static_cast<const char*>(value), size}});
        }
      }
      places.emplace_back(begin, headers_.size() - begin);
    }
  }
  // Only now do the headers stay where they are.
  for (size_t i = 0; i < places.size(); ++i) {
    batch_.records[i].headers =
        absl::MakeConstSpan(headers_).subspan(places[i].first, places[i].second);
  }
  return &batch_;
}

void KafkaHistory::close() {
  if (!std::exchange(open_, false)) return;
  messages_.clear();
  const KafkaError error(rd_kafka_incremental_unassign(handle_.get(), list().get()));
  if (error != nullptr) {
    spdlog::warn("ending to read topic {}, partition {}: {}", options_.topic, partition_,
                 rd_kafka_error_string(error.get()));
  }
}

}  // namespace segmentd
