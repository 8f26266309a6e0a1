#include "stream/kafka_definition_log.h"

#include <fmt/format.h>
#include <simdjson.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/time/clock.h"

#include "segment/absl_view.h"
#include "segment/definition_check.h"
#include "segment/definition_text.h"
#include "segment/settings.h"

namespace segmentd {
namespace {

using segments::v1::Segment;

constexpr size_t kBatch = 1024;
constexpr Partition kPartition = 0;
constexpr absl::Duration kWait = absl::Milliseconds(100);
constexpr absl::Duration kFirstRetry = absl::Milliseconds(100);
constexpr absl::Duration kLastRetry = absl::Seconds(5);
constexpr absl::Duration kSnapshotAge = absl::Milliseconds(20);
constexpr absl::Duration kWarmLimit = absl::Seconds(2);
constexpr absl::Duration kWarmWriterLimit = absl::Seconds(10);
constexpr absl::Duration kEndLimit = absl::Seconds(5);
constexpr absl::Duration kCloseLimit = absl::Seconds(5);

std::string Text(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

std::string Describe(const std::vector<Violation>& violations) {
  std::vector<std::string> texts;
  texts.reserve(violations.size());
  for (const Violation& violation : violations) {
    texts.push_back(violation.path.empty()
                        ? violation.message
                        : fmt::format("{}: {}", violation.path, violation.message));
  }
  return fmt::format("{}", fmt::join(texts, "; "));
}

// A segment has no more versions than records.
int64_t HighestVersionUpTo(Offset record) {
  return record.value() + 1;
}

// Whether an answer may hold it.
bool IsText(std::string_view bytes) {
  return simdjson::validate_utf8(bytes.data(), bytes.size());
}

// An append under way; written to by delivery reports, which only its own polls serve.
struct Delivery {
  size_t outstanding = 0;
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
  int64_t next_offset = 0;
  // Delivered, but the broker did not say where.
  bool somewhere = false;
};

void Delivered(rd_kafka_t*, const rd_kafka_message_t* message, void*) {
  auto* delivery = static_cast<Delivery*>(message->_private);
  --delivery->outstanding;
  if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (delivery->error == RD_KAFKA_RESP_ERR_NO_ERROR) delivery->error = message->err;
  } else if (message->offset < 0) {
    delivery->somewhere = true;
  } else {
    delivery->next_offset = std::max(delivery->next_offset, message->offset + 1);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaDefinitionLog>> KafkaDefinitionLog::Create(
    const KafkaSettings& settings, Options options, const TaskBoard& board) {
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings, KafkaRole::kReader, {{"group.id", options.group}});
  if (!conf.ok()) return conf.status();
  std::unique_ptr<KafkaDefinitionLog> log(
      new KafkaDefinitionLog(settings, std::move(options), board));
  rd_kafka_conf_set_error_cb(conf->get(), NoteError);
  rd_kafka_conf_set_opaque(conf->get(), log.get());
  absl::StatusOr<KafkaHandle> reader = MakeKafkaHandle(KafkaRole::kReader, *std::move(conf));
  if (!reader.ok()) return reader.status();
  log->reader_ = *std::move(reader);
  log->records_.reset(rd_kafka_queue_get_consumer(log->reader_.get()));
  {
    const std::scoped_lock lock(log->mutex_);
    log->stored_ = std::make_shared<Published>(Published{std::make_shared<Segments>(), {}});
  }
  log->thread_ = std::thread([raw = log.get()] { raw->run(); });
  return log;
}

KafkaDefinitionLog::~KafkaDefinitionLog() {
  if (!thread_.joinable()) return;  // There is no client.
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  rd_kafka_queue_yield(records_.get());
  thread_.join();
  records_.reset();
  CloseKafkaConsumer(std::move(reader_), kCloseLimit);
}

bool KafkaDefinitionLog::stopping() const {
  const std::scoped_lock lock(mutex_);
  return stop_;
}

absl::StatusOr<Offset> KafkaDefinitionLog::end() const {
  return end_within(kEndLimit);
}

absl::StatusOr<Offset> KafkaDefinitionLog::end_within(absl::Duration limit) const {
  const auto end =
      KafkaOffsets(reader_.get(), options_.topic, {&kPartition, 1}, KafkaOffset::kStable, limit);
  if (!end.ok()) return end.status();
  return Offset(end->at(kPartition));
}

bool KafkaDefinitionLog::wait_ready(absl::Time deadline) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, absl::ToChronoTime(deadline), [&] { return ready_; });
}

void KafkaDefinitionLog::NoteError(rd_kafka_t* handle, int error, const char* reason, void* log) {
  const auto code = static_cast<rd_kafka_resp_err_t>(error);
  if (absl::Status status = KafkaStatus(code, reason); absl::IsNotFound(status)) {
    static_cast<KafkaDefinitionLog*>(log)->gone_ = std::move(status);
  } else {
    ReportKafkaError(handle, error, reason, nullptr);
  }
}

void KafkaDefinitionLog::run() {
  absl::Duration retry = kFirstRetry;
  std::string told;
  while (true) {
    const uint64_t before = generation();
    const absl::Status status = follow();
    if (stopping()) return;
    failures_.fetch_add(1, std::memory_order_relaxed);
    if (generation() != before) {
      retry = kFirstRetry;
      told.clear();
    }
    std::string cause =
        absl::IsNotFound(status)
            ? fmt::format(
                  "the broker knows no topic {}: if it was deleted, restore its records "
                  "from a copy",
                  options_.topic)
            : Text(status);
    // What lasts is told once.
    if (cause != told) {
      spdlog::error(
          "{}; the segments known stay, and it is read again from its start, as soon as "
          "that can be done",
          cause);
      told = std::move(cause);
    }
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, absl::ToChronoMilliseconds(retry), [&] { return stop_; })) return;
    retry = std::min(2 * retry, kLastRetry);
  }
}

absl::Status KafkaDefinitionLog::follow() {
  const std::string what = fmt::format("reading topic {}", options_.topic);
  // The client looks only once a second for the leaders of a topic that it does not know.
  if (const auto count = KafkaPartitionCount(reader_.get(), options_.topic, kWarmLimit);
      !count.ok()) {
    return count.status();
  }
  const KafkaPartitions list(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(list.get(), options_.topic.c_str(), kPartition)->offset =
      RD_KAFKA_OFFSET_BEGINNING;
  if (const KafkaError error(rd_kafka_incremental_assign(reader_.get(), list.get()));
      error != nullptr) {
    return KafkaStatus(*error, what);
  }

  // Read to the end first: what is known is replaced as a whole then, so that a deletion that
  // compaction has taken away counts too.
  bool loading = true;
  struct Newest {
    int64_t offset = 0;
    std::optional<std::string> value;
  };
  std::map<std::string, Newest> newest;
  absl::Status status;
  gone_ = absl::OkStatus();
  KafkaMessages messages(kBatch);
  while (status.ok() && !stopping()) {
    messages.take(records_.get(), kWait);
    status = gone_;
    if (!status.ok()) break;
    bool changed = false;
    int64_t position = -1;
    for (const rd_kafka_message_t* message : messages.all()) {
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        position = message->offset;
        if (loading) {
          loading = false;
          changed = true;
          // What was known is the past of what is read now.
          Table before = std::exchange(table_, {});
          for (auto& [key, record] : newest) {
            if (!record.value) continue;
            if (auto known = before.extract(key)) table_.insert(std::move(known));
            put(key, *record.value, record.offset, &table_);
          }
          newest.clear();
        }
      } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        const absl::Status error =
            KafkaStatus(message->err, what, rd_kafka_message_errstr(message));
        if (!IsPassingKafkaError(message->err)) {
          status = error;
          break;
        }
        spdlog::warn("{}", Text(error));
      } else {
        position = message->offset + 1;
        const std::optional<std::string_view> value =
            message->payload == nullptr ? std::nullopt : std::optional(KafkaValue(*message));
        if (loading) {
          Newest& record = newest[std::string(KafkaKey(*message))];
          record.offset = message->offset;
          record.value = value;
        } else {
          put(KafkaKey(*message), value, message->offset, &table_);
          changed = true;
        }
      }
    }
    if (!loading && position >= 0) publish(changed, position);
  }
  const KafkaError error(rd_kafka_incremental_unassign(reader_.get(), list.get()));
  return status;
}

void KafkaDefinitionLog::put(std::string_view key, std::optional<std::string_view> value,
                             int64_t offset, Table* table) {
  if (!value) {
    if (const auto it = table->find(key); it != table->end()) table->erase(it);
    return;
  }
  if (key.empty() || !IsText(key)) {
    invalid_records_.fetch_add(1, std::memory_order_relaxed);
    spdlog::error(
        "topic {}, offset {}: a record whose key is no segment's ID is passed over: \"{}\"",
        options_.topic, offset, absl::CHexEscape(AbslView(key)));
    return;
  }
  Stored stored{.offset = Offset(offset)};
  const absl::StatusOr<Segment> segment = SegmentFromJson(*value);
  if (!segment.ok()) {
    stored.invalid = fmt::format("the stored record can't be read: {}", Text(segment.status()));
  } else if (segment->id() != key) {
    stored.invalid = fmt::format("the stored record is of segment \"{}\"", segment->id());
  } else {
    stored.segment = *segment;
    std::vector<Violation> violations = CheckSegment(*segment);
    if (segment->version() < 1 || segment->version() > kMaxSegmentVersion) {
      violations.push_back({"version", fmt::format("1 to {} is allowed", kMaxSegmentVersion)});
    }
    if (!violations.empty()) stored.invalid = Describe(violations);
  }
  if (!stored.invalid.empty()) {
    // Parts of what was read may be in it.
    if (!IsText(stored.invalid)) stored.invalid = absl::CHexEscape(stored.invalid);
    invalid_records_.fetch_add(1, std::memory_order_relaxed);
    spdlog::error("topic {}, offset {}: segment \"{}\" is not run: {}", options_.topic, offset, key,
                  stored.invalid);
    // What was last readable goes on.
    Segment before;
    if (const auto it = table->find(key); it != table->end()) before = it->second.segment;
    if (stored.segment.id().empty()) {
      stored.segment = before;
      stored.segment.set_id(std::string(key));
    }
    stored.segment.set_version(before.version());
    stored.segment.clear_create_time();
    if (before.has_create_time()) *stored.segment.mutable_create_time() = before.create_time();
    stored.segment.set_paused(before.paused());
    stored.segment.set_resumed_version(before.resumed_version());
    stored.segment.set_status(segments::v1::SEGMENT_STATUS_INVALID);
    stored.segment.set_status_detail(stored.invalid);
    // Of the record, whatever that says itself: an update mends what its sender has seen.
    stored.segment.set_etag(fmt::format("{}{}", kRecordEtag, offset));
  } else {
    stored.segment.clear_status();
    stored.segment.clear_status_detail();
    stored.segment.clear_build_progress();
  }
  table->insert_or_assign(std::string(key), std::move(stored));
}

void KafkaDefinitionLog::publish(bool changed, int64_t position) {
  std::shared_ptr<const Published> published;
  if (changed) {
    auto all = std::make_shared<Segments>();
    all->reserve(table_.size());
    std::map<std::string, Offset, std::less<>> offsets;
    for (const auto& [id, stored] : table_) {
      all->push_back(stored.segment);
      if (!stored.invalid.empty()) offsets.emplace(id, stored.offset);
    }
    published = std::make_shared<Published>(Published{std::move(all), std::move(offsets)});
  } else {
    const std::scoped_lock lock(mutex_);
    if (position == position_) return;
    // Marks of transactions are no change, but the tasks of other instances may know this end.
    published = stored_;
  }
  // First to the tasks: whoever waits for the position finds them told.
  if (options_.changed) options_.changed(published->segments, Offset(position));
  const std::scoped_lock lock(mutex_);
  if (changed) {
    stored_ = std::move(published);
    generation_.fetch_add(1, std::memory_order_release);
  }
  position_ = position;
  ready_ = true;
  changed_.notify_all();
}

KafkaDefinitionLog::Shown KafkaDefinitionLog::shown(const Published& published,
                                                    const Segment& segment) const {
  const auto unfit = published.offsets.find(segment.id());
  if (unfit == published.offsets.end()) {
    return {segment.version(), segment.paused(), board_.status(segment.id(), segment.version())};
  }
  // The update that mends it has to be a later version than any that runs, wherever that is.
  const TaskBoard::Running running = board_.running(segment.id());
  return {std::max({segment.version(), running.version, HighestVersionUpTo(unfit->second)}),
          segment.paused() || running.paused,
          {segments::v1::SEGMENT_STATUS_INVALID, segment.status_detail()}};
}

std::shared_ptr<const KafkaDefinitionLog::Segments> KafkaDefinitionLog::All() const {
  std::shared_ptr<const Published> stored;
  {
    const std::scoped_lock lock(mutex_);
    stored = stored_;
  }
  const std::scoped_lock lock(snapshot_mutex_);
  const absl::Time now = absl::Now();
  if (snapshot_.of == stored && now < snapshot_.at + kSnapshotAge && now >= snapshot_.at) {
    return snapshot_.segments;
  }
  // A copy only when a status is another than in the last one.
  const Segments& last = snapshot_.of == stored ? *snapshot_.segments : *stored->segments;
  std::shared_ptr<Segments> next;
  if (snapshot_.of != stored) next = std::make_shared<Segments>(*stored->segments);
  for (size_t i = 0; i < stored->segments->size(); ++i) {
    Shown shown = this->shown(*stored, (*stored->segments)[i]);
    const Segment& present = next ? (*next)[i] : last[i];
    if (present.version() == shown.version && present.paused() == shown.paused &&
        present.status() == shown.status.status && present.status_detail() == shown.status.detail &&
        present.build_progress() == shown.status.build_progress) {
      continue;
    }
    if (!next) next = std::make_shared<Segments>(last);
    Segment& segment = (*next)[i];
    segment.set_version(shown.version);
    segment.set_paused(shown.paused);
    segment.set_status(shown.status.status);
    segment.set_status_detail(std::move(shown.status.detail));
    segment.set_build_progress(shown.status.build_progress);
  }
  snapshot_.of = stored;
  if (next) snapshot_.segments = std::move(next);
  snapshot_.at = now;
  return snapshot_.segments;
}

bool KafkaDefinitionLog::WaitApplied(std::string_view id, int64_t version, absl::Time deadline) {
  const bool applied = board_.wait_applied(id, version, deadline);
  // The caller will look at the status next.
  const std::scoped_lock lock(snapshot_mutex_);
  snapshot_.at = absl::InfinitePast();
  return applied;
}

bool KafkaDefinitionLog::WaitsForBuild(std::string_view id, int64_t version) const {
  return board_.waits_for_build(id, version);
}

absl::Status KafkaDefinitionLog::Append(const std::vector<Write>& writes, absl::Time deadline) {
  if (writes.empty()) return absl::OkStatus();
  if (absl::Status status = check_whole(deadline); !status.ok()) return status;
  int64_t next_offset = 0;
  {
    const std::scoped_lock lock(writer_mutex_);
    absl::StatusOr<int64_t> written = write(writes, deadline);
    if (!written.ok()) {
      // Its sequence may have a gap now.
      writer_.reset();
      return written.status();
    }
    next_offset = *written;
  }
  std::unique_lock lock(mutex_);
  if (changed_.wait_until(lock, absl::ToChronoTime(deadline),
                          [&] { return position_ >= next_offset; })) {
    return absl::OkStatus();
  }
  return absl::DeadlineExceededError(
      "it is stored, but this instance has not read it back yet: read again");
}

absl::Status KafkaDefinitionLog::check_whole(absl::Time deadline) const {
  const std::optional<Offset> run = board_.definitions_end();
  if (!run) {
    return absl::UnavailableError(
        "nothing was stored: the partitions are being restored here, and until the first one is "
        "nobody knows whether definitions were lost: try again");
  }
  {
    const std::scoped_lock lock(mutex_);
    if (Offset(position_) >= *run) return absl::OkStatus();
  }
  const absl::StatusOr<Offset> end =
      end_within(std::clamp(deadline - absl::Now(), absl::Milliseconds(1), kEndLimit));
  if (!end.ok()) {
    return absl::Status(end.status().code(),
                        fmt::format("nothing was stored: {}", Text(end.status())));
  }
  if (*end >= *run) {
    return absl::UnavailableError(
        "nothing was stored: this instance has not read all the definitions yet that are run: read "
        "again before writing");
  }
  // What is written behind a loss would bring the end back to where it was, and hide it.
  return absl::FailedPreconditionError(fmt::format(
      "nothing was stored: {}", LostDefinitions("topic " + options_.topic, *end, *run)));
}

absl::Status KafkaDefinitionLog::open_writer(absl::Time deadline) {
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings_, KafkaRole::kWriter,
                    {{"message.timeout.ms", "60000"}, {"queue.buffering.max.ms", "5"}});
  if (!conf.ok()) return conf.status();
  rd_kafka_conf_set_dr_msg_cb(conf->get(), Delivered);
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kWriter, *std::move(conf));
  if (!handle.ok()) return handle.status();
  writer_ = *std::move(handle);
  // The first record to a topic whose partitions are not known yet is held back for a second.
  absl::Status warm = KafkaPartitionCount(writer_.get(), options_.topic,
                                          std::min(kWarmWriterLimit, deadline - absl::Now()))
                          .status();
  if (!warm.ok() && absl::Now() >= deadline) {
    return absl::DeadlineExceededError(
        fmt::format("nothing was stored: {}", StdView(warm.message())));
  }
  return warm;
}

absl::StatusOr<int64_t> KafkaDefinitionLog::write(const std::vector<Write>& writes,
                                                  absl::Time deadline) {
  if (writer_ == nullptr) {
    if (absl::Status status = open_writer(deadline); !status.ok()) return status;
  }
  const std::string what = fmt::format("writing to topic {}", options_.topic);
  KafkaTopic topic(rd_kafka_topic_new(writer_.get(), options_.topic.c_str(), nullptr));
  if (topic == nullptr) return KafkaStatus(rd_kafka_last_error(), what);
  Delivery delivery;
  rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
  for (const Write& write : writes) {
    std::string json;
    if (write.segment) {
      Segment stored = *write.segment;
      stored.clear_status();
      stored.clear_status_detail();
      stored.clear_build_progress();
      json = SegmentToJson(stored);
    }
    ++delivery.outstanding;
    if (rd_kafka_produce(topic.get(), kPartition, RD_KAFKA_MSG_F_COPY,
                         write.segment ? json.data() : nullptr, json.size(), write.id.data(),
                         write.id.size(), &delivery) != 0) {
      --delivery.outstanding;
      error = rd_kafka_last_error();
      break;
    }
  }
  while (delivery.outstanding > 0 && absl::Now() < deadline) rd_kafka_poll(writer_.get(), 10);
  if (delivery.outstanding > 0) {
    // A report to come would write to `delivery`: none comes once the client is gone.
    topic.reset();
    writer_.reset();
    return absl::DeadlineExceededError(fmt::format(
        "{}: not acknowledged in time; it may be stored all the same: read before writing again",
        what));
  }
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) error = delivery.error;
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return KafkaStatus(error, what);
  if (!delivery.somewhere) return delivery.next_offset;
  const auto end =
      KafkaOffsets(writer_.get(), options_.topic, {&kPartition, 1}, KafkaOffset::kStable,
                   std::max(deadline - absl::Now(), absl::Milliseconds(1)));
  if (!end.ok()) return end.status();
  return end->at(kPartition);
}

}  // namespace segmentd
