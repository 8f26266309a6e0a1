#include "stream/kafka_source.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace segmentd {
namespace {

constexpr absl::Duration kWarmLimit = absl::Seconds(1);
constexpr absl::Duration kCloseLimit = absl::Seconds(5);

KafkaPartitions ListOf(const std::string& topic, Partition partition) {
  KafkaPartitions list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
  return list;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaSource>> KafkaSource::Create(const KafkaSettings& settings,
                                                                 Options options, Clock& clock) {
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings, KafkaRole::kReader, {{"group.id", options.group}});
  if (!conf.ok()) return conf.status();
  absl::StatusOr<KafkaHandle> reader = MakeKafkaHandle(KafkaRole::kReader, *std::move(conf));
  if (!reader.ok()) return reader.status();

  std::unique_ptr<KafkaSource> source(new KafkaSource(std::move(options), clock));
  source->reader_ = *std::move(reader);
  source->records_.reset(rd_kafka_queue_get_consumer(source->reader_.get()));
  rd_kafka_queue_t* const records = source->records_.get();

  conf = MakeKafkaConf(settings, KafkaRole::kAsker);
  if (!conf.ok()) return conf.status();
  absl::StatusOr<KafkaHandle> asker = MakeKafkaHandle(KafkaRole::kAsker, *std::move(conf));
  if (!asker.ok()) return asker.status();
  source->asker_ = *std::move(asker);
  source->ends_ = std::make_unique<KafkaEnds>(
      source->asker_.get(),
      KafkaEnds::Options{.topic = source->options_.topic,
                         .answered = [records] { rd_kafka_queue_yield(records); }});

  absl::StatusOr<std::unique_ptr<KafkaGroupMember>> member =
      KafkaGroupMember::Create(settings, {.topic = source->options_.topic,
                                          .group = source->options_.group,
                                          .instance = source->options_.instance,
                                          .wake = [records] { rd_kafka_queue_yield(records); }});
  if (!member.ok()) return member.status();
  source->member_ = *std::move(member);
  return source;
}

KafkaSource::~KafkaSource() {
  member_.reset();
  messages_.clear();
  ends_.reset();
  records_.reset();
  CloseKafkaConsumer(std::move(reader_), kCloseLimit);
}

void KafkaSource::listen(Listener listener) {
  const auto released = [this](const std::function<void(const std::vector<Partition>&)>& tell,
                               const std::vector<Partition>& partitions) {
    if (tell) tell(partitions);
    for (const Partition partition : partitions) {
      if (absl::Status status = drop(partition); !status.ok() && broken_.ok()) broken_ = status;
    }
  };
  broken_ = member_->join(
      {.given = std::move(listener.given),
       .revoked = [released, tell = std::move(listener.revoked)](
                      const std::vector<Partition>& partitions) { released(tell, partitions); },
       .lost = [released, tell = std::move(listener.lost)](
                   const std::vector<Partition>& partitions) { released(tell, partitions); }});
}

absl::Status KafkaSource::start(Partition partition, Offset from) {
  if (absl::Status status = drop(partition); !status.ok()) return status;
  if (!warm_) {
    // The client looks only once a second for the leaders of a topic that it does not know.
    const auto count = KafkaPartitionCount(reader_.get(), options_.topic, kWarmLimit);
    warm_ = count.ok();
  }
  const KafkaPartitions list = ListOf(options_.topic, partition);
  list->elems[0].offset = from.value();
  // Taken away and given again instead of a seek, which may deliver records of the old position:
  // what is in the queue from before is dropped by the client, and this waits until the old fetch
  // has ended.
  const KafkaError error(rd_kafka_incremental_assign(reader_.get(), list.get()));
  if (error != nullptr) {
    return KafkaStatus(*error, fmt::format("reading topic {}, partition {} from offset {}",
                                           options_.topic, partition, from.value()));
  }
  readings_[partition] = {.position = from.value()};
  return absl::OkStatus();
}

absl::Status KafkaSource::drop(Partition partition) {
  if (readings_.erase(partition) == 0) return absl::OkStatus();
  const KafkaPartitions list = ListOf(options_.topic, partition);
  const KafkaError error(rd_kafka_incremental_unassign(reader_.get(), list.get()));
  if (error == nullptr) return absl::OkStatus();
  return KafkaStatus(
      *error, fmt::format("ending to read topic {}, partition {}", options_.topic, partition));
}

absl::StatusOr<const Batch*> KafkaSource::poll(absl::Duration wait) {
  batch_.records.clear();
  batch_.ends.clear();
  messages_.clear();
  if (!broken_.ok()) return broken_;
  if (!failed_.ok()) return std::exchange(failed_, absl::OkStatus());
  const absl::Duration deadline = clock_.monotonic() + wait;
  while (true) {
    const absl::StatusOr<bool> moved = member_->poll();
    if (!moved.ok()) broken_ = moved.status();
    if (!broken_.ok()) return broken_;
    answer();
    ask();
    const absl::Duration left = std::max(deadline - clock_.monotonic(), absl::ZeroDuration());
    // No wait when there is something to tell already.
    const bool now = *moved || !answered_.empty();
    messages_.take(records_.get(), now ? absl::ZeroDuration() : std::min(left, until_ask()));
    deliver();
    add_ends();
    if (!batch_.records.empty() || !batch_.ends.empty()) return &batch_;
    if (!failed_.ok()) return std::exchange(failed_, absl::OkStatus());
    if (*moved || clock_.monotonic() >= deadline) return &batch_;
  }
}

void KafkaSource::deliver() {
  headers_.clear();
  header_places_.clear();
  auto reading = readings_.end();
  for (const rd_kafka_message_t* message : messages_.all()) {
    if (reading == readings_.end() || reading->first != message->partition) {
      reading = readings_.find(message->partition);
    }
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      if (reading != readings_.end()) {
        reading->second = {.position = message->offset, .at_end = true};
      }
    } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      fail(*message);
    } else if (reading != readings_.end()) {
      reading->second = {.position = message->offset + 1};
      Record& record = batch_.records.emplace_back();
      record.partition = message->partition;
      record.offset = Offset(message->offset);
      record.record_time = Time::Millis(rd_kafka_message_timestamp(message, nullptr));
      record.has_key = message->key != nullptr;
      record.key = KafkaKey(*message);
      record.has_value = message->payload != nullptr;
      record.value = KafkaValue(*message);
      take_headers(*message);
    }
  }
  // Only now do the headers stay where they are.
  for (const HeaderPlace& place : header_places_) {
    batch_.records[place.record].headers =
        absl::MakeConstSpan(headers_).subspan(place.begin, place.size);
  }
}

void KafkaSource::take_headers(const rd_kafka_message_t& message) {
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return;
  const size_t begin = headers_.size();
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  for (size_t i = 0;
       rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
       ++i) {
    const bool has_value = value != nullptr;
    headers_.push_back({.name = name,
                        .value = {static_cast<const char*>(value), has_value ? size : 0},
                        .has_value = has_value});
  }
  if (headers_.size() > begin) {
    header_places_.push_back(
        {.record = batch_.records.size() - 1, .begin = begin, .size = headers_.size() - begin});
  }
}

void KafkaSource::fail(const rd_kafka_message_t& message) {
  const std::string what = message.rkt == nullptr
                               ? fmt::format("reading topic {}", options_.topic)
                               : fmt::format("reading topic {}, partition {} at offset {}",
                                             options_.topic, message.partition, message.offset);
  const char* text = rd_kafka_message_errstr(&message);
  if (IsPassingKafkaError(message.err)) {
    spdlog::warn("{}: {}: {}", what, rd_kafka_err2name(message.err), text == nullptr ? "" : text);
  } else if (failed_.ok()) {
    failed_ = KafkaStatus(message.err, what, text == nullptr ? "" : text);
  }
}

absl::Duration KafkaSource::until_ask() const {
  const bool any = std::any_of(readings_.begin(), readings_.end(),
                               [](const auto& reading) { return reading.second.at_end; });
  if (asking_ || !any) return absl::InfiniteDuration();
  return std::max(last_ask_ + options_.ask_every - clock_.monotonic(), absl::ZeroDuration());
}

void KafkaSource::ask() {
  if (until_ask() > absl::ZeroDuration()) return;
  std::vector<Partition> partitions;
  for (const auto& [partition, reading] : readings_) {
    if (reading.at_end) partitions.push_back(partition);
  }
  // Before the question, so that whatever was appended until then is in the answer.
  asked_at_ = clock_.wall();
  last_ask_ = clock_.monotonic();
  asking_ = true;
  ends_->ask(std::move(partitions));
}

void KafkaSource::answer() {
  answered_.clear();
  const std::optional<KafkaEnds::Answer> answer = ends_->take();
  if (!answer) return;
  asking_ = false;
  for (const auto& [partition, offset] : *answer) {
    answered_.push_back(
        {.partition = partition, .position = Offset(offset), .asked_at = asked_at_});
  }
}

void KafkaSource::add_ends() {
  for (const Batch::End& end : answered_) {
    const auto reading = readings_.find(end.partition);
    // Beyond the position there are records still to come, or those of an open transaction: not the
    // end.
    if (reading != readings_.end() && reading->second.position == end.position.value()) {
      batch_.ends.push_back(end);
    }
  }
  answered_.clear();
}

absl::StatusOr<std::pair<Offset, Offset>> KafkaSource::bounds(Partition partition) {
  const auto first = KafkaOffsets(asker_.get(), options_.topic, {&partition, 1},
                                  KafkaOffset::kFirst, options_.timeout);
  if (!first.ok()) return first.status();
  const auto next = KafkaOffsets(asker_.get(), options_.topic, {&partition, 1}, KafkaOffset::kNext,
                                 options_.timeout);
  if (!next.ok()) return next.status();
  return std::pair(Offset(first->at(partition)), Offset(next->at(partition)));
}

std::optional<Offset> KafkaSource::known_end(Partition partition) {
  // Each answer to a fetch brings it along.
  int64_t first = 0;
  int64_t next = 0;
  const rd_kafka_resp_err_t error = rd_kafka_get_watermark_offsets(
      reader_.get(), options_.topic.c_str(), partition, &first, &next);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR || next < 0) return std::nullopt;
  return Offset(next);
}

absl::StatusOr<std::optional<Offset>> KafkaSource::committed(Partition partition) {
  const absl::Duration deadline = clock_.monotonic() + options_.timeout;
  while (true) {
    // Waits while an open transaction holds an offset of the partition.
    const KafkaPartitions list = ListOf(options_.topic, partition);
    const absl::Duration left = deadline - clock_.monotonic();
    rd_kafka_resp_err_t error = rd_kafka_committed(reader_.get(), list.get(), KafkaTimeoutMs(left));
    const rd_kafka_topic_partition_t& found = list->elems[0];
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) error = found.err;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      if (found.offset < 0) return std::optional<Offset>();
      return std::optional(Offset(found.offset));
    }
    if (!IsPassingKafkaError(error) || left <= absl::ZeroDuration()) {
      return KafkaStatus(
          error, fmt::format("asking for the committed offset of group {}, topic {}, partition {}",
                             options_.group, options_.topic, partition));
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
}

}  // namespace segmentd
