#include "app/event_producer.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "segment/absl_view.h"

namespace segmentd {
namespace {

using AdminOptions = KafkaPtr<rd_kafka_AdminOptions_t, rd_kafka_AdminOptions_destroy>;
using ConfigResource = KafkaPtr<rd_kafka_ConfigResource_t, rd_kafka_ConfigResource_destroy>;

std::optional<Duration> Limit(std::string_view text) {
  int64_t ms = 0;
  if (!absl::SimpleAtoi(absl::string_view(text.data(), text.size()), &ms) || ms < 0 ||
      ms == INT64_MAX) {
    return std::nullopt;
  }
  return Duration::Millis(ms);
}

// To whole days, or seconds below one.
Duration Rounded(Duration duration) {
  const int64_t unit =
      duration < Duration::Days(1) ? Duration::Seconds(1).millis() : Duration::Days(1).millis();
  return Duration::Millis(duration.millis() / unit * unit);
}

// What the topic would do with records of that age, and by which setting.
std::vector<std::string> Objections(const TopicRetention& retention, Duration age) {
  std::vector<std::string> objections;
  if (retention.append_time) return objections;
  if (retention.kept && age > *retention.kept) {
    objections.push_back(absl::StrCat("deletes records older than ",
                                      FormatDuration(*retention.kept), " (retention.ms)"));
  }
  if (retention.refused_before && age > *retention.refused_before) {
    objections.push_back(absl::StrCat("refuses records older than ",
                                      FormatDuration(*retention.refused_before),
                                      " (message.timestamp.before.max.ms)"));
  }
  return objections;
}

// Of a record that was refused because of what it is; empty for every other error.
std::string_view WayOut(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
      return "raise the topic's message.timestamp.after.max.ms, or for old events its "
             "message.timestamp.before.max.ms, or leave out --keep-times";
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
      return "raise the topic's max.message.bytes: it bounds a record, and up to 1 MB of records "
             "that are written together";
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
      return "the topic's settings or a policy of the broker's don't take such a record";
    default:
      return "";
  }
}

}  // namespace

absl::Status CheckRetention(const TopicRetention& retention, const std::string& topic,
                            Duration oldest, Duration newest, bool keep_times) {
  const Duration shifted = Duration::Millis(oldest.millis() - newest.millis());
  const Duration age = keep_times ? oldest : shifted;
  const std::vector<std::string> objections = Objections(retention, age);
  const bool ahead = keep_times && !retention.append_time && retention.refused_after &&
                     -newest > *retention.refused_after;
  if (objections.empty() && !ahead) return absl::OkStatus();
  std::string way_out = ", or play the events as of now, with --speed 3600 (an hour in a second)";
  if (keep_times) {
    way_out = Objections(retention, shifted).empty()
                  ? ", or leave out --keep-times, and the newest event is now"
                  : ", or play the events as of now, with --speed 3600 instead of --keep-times";
  }
  std::vector<std::string> refusals;
  if (!objections.empty()) {
    refusals.push_back(absl::StrCat("the oldest event would be ", FormatDuration(Rounded(age)),
                                    " old, but topic ", topic, " ",
                                    absl::StrJoin(objections, " and ")));
  }
  if (ahead) {
    refusals.push_back(absl::StrCat(
        "the newest event would be ", FormatDuration(Rounded(-newest)),
        " ahead of the clock, but topic ", topic, " refuses records more than ",
        FormatDuration(*retention.refused_after), " ahead (message.timestamp.after.max.ms)"));
  }
  const size_t settings = objections.size() + (ahead ? 1 : 0);
  return absl::FailedPreconditionError(absl::StrCat(
      absl::StrJoin(refusals, ", and "), "; raise ",
      settings == 1 ? "that setting" : (settings == 2 ? "both settings" : "all three settings"),
      way_out));
}

absl::StatusOr<std::unique_ptr<EventProducer>> EventProducer::Connect(const KafkaSettings& settings,
                                                                      const std::string& topic,
                                                                      absl::Duration timeout) {
  absl::StatusOr<KafkaConf> conf = MakeKafkaConf(
      settings, KafkaRole::kWriter,
      {// Records without a key do not occur; those with one go where Java's default puts them.
       {"partitioner", "murmur2_random"},
       {"linger.ms", "5"},
       {"client.id", "segctl"}});
  if (!conf.ok()) return conf.status();
  std::unique_ptr<EventProducer> producer(new EventProducer);
  producer->topic_ = topic;
  rd_kafka_conf_set_opaque(conf->get(), producer.get());
  rd_kafka_conf_set_dr_msg_cb(conf->get(), &EventProducer::Delivered);
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kWriter, *std::move(conf));
  if (!handle.ok()) return handle.status();
  producer->handle_ = *std::move(handle);
  const absl::StatusOr<int32_t> partitions =
      KafkaPartitionCount(producer->handle_.get(), topic, timeout);
  if (absl::IsNotFound(partitions.status())) {
    return absl::NotFoundError(
        absl::StrCat("there is no topic ", topic, " at ", settings.bootstrap_servers(),
                     "; segmentd creates it when it starts, --topic names another"));
  }
  if (!partitions.ok()) return partitions.status();
  return producer;
}

EventProducer::~EventProducer() {
  if (handle_ == nullptr) return;
  rd_kafka_purge(handle_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_flush(handle_.get(), 1000);
}

void EventProducer::Delivered(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  auto* const producer = static_cast<EventProducer*>(opaque);
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
    ++producer->delivered_;
    return;
  }
  // Nothing is wrong with this one but the company that it went in; what is, another one tells.
  if (message->err == RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD) {
    ++producer->refused_;
    return;
  }
  const std::string_view way_out = WayOut(message->err);
  if (!way_out.empty()) ++producer->refused_;
  if (!producer->first_error_.empty()) return;
  // Not rd_kafka_message_errstr(): of a record produced, that is the record's own value. Nor
  // rd_kafka_message_produce_errstr(): where several records of a batch are refused, the client has
  // freed what that points to.
  producer->first_error_ =
      absl::StrCat(rd_kafka_err2name(message->err), ": ", rd_kafka_err2str(message->err),
                   way_out.empty() ? "" : "; ", AbslView(way_out));
}

absl::StatusOr<TopicRetention> EventProducer::retention(absl::Duration timeout) {
  const std::string what = absl::StrCat("the settings of topic ", topic_);
  const AdminOptions options(
      rd_kafka_AdminOptions_new(handle_.get(), RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS));
  rd_kafka_AdminOptions_set_request_timeout(options.get(), KafkaTimeoutMs(timeout), nullptr, 0);
  const ConfigResource resource(
      rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic_.c_str()));
  rd_kafka_ConfigResource_t* list[] = {resource.get()};
  const KafkaQueue queue(rd_kafka_queue_new(handle_.get()));
  rd_kafka_DescribeConfigs(handle_.get(), list, 1, options.get(), queue.get());
  const KafkaEvent event(rd_kafka_queue_poll(queue.get(), KafkaTimeoutMs(timeout) + 1000));
  if (event == nullptr) return absl::UnavailableError(absl::StrCat(what, ": no answer"));
  if (const auto error = rd_kafka_event_error(event.get())) return KafkaStatus(error, what);
  size_t count = 0;
  const rd_kafka_ConfigResource_t** const resources = rd_kafka_DescribeConfigs_result_resources(
      rd_kafka_event_DescribeConfigs_result(event.get()), &count);
  if (count != 1) return absl::InternalError(absl::StrCat(what, ": no answer about this topic"));
  if (const auto error = rd_kafka_ConfigResource_error(resources[0])) {
    return KafkaStatus(error, what);
  }
  TopicRetention retention;
  std::optional<Duration> kept;
  bool deletes = true;
  const rd_kafka_ConfigEntry_t** const entries =
      rd_kafka_ConfigResource_configs(resources[0], &count);
  for (size_t i = 0; i < count; ++i) {
    const std::string_view name = rd_kafka_ConfigEntry_name(entries[i]);
    const char* const text = rd_kafka_ConfigEntry_value(entries[i]);
    const std::string_view value = text == nullptr ? "" : text;
    if (name == "retention.ms") kept = Limit(value);
    if (name == "cleanup.policy") deletes = value.find("delete") != std::string_view::npos;
    if (name == "message.timestamp.before.max.ms") retention.refused_before = Limit(value);
    if (name == "message.timestamp.after.max.ms") retention.refused_after = Limit(value);
    if (name == "message.timestamp.type") retention.append_time = value == "LogAppendTime";
  }
  if (deletes) retention.kept = kept;
  return retention;
}

absl::Status EventProducer::send(std::string_view key, std::string_view value, Time record_time) {
  for (;;) {
    const rd_kafka_resp_err_t error = rd_kafka_producev(
        handle_.get(), RD_KAFKA_V_TOPIC(topic_.c_str()), RD_KAFKA_V_KEY(key.data(), key.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()),
        RD_KAFKA_V_TIMESTAMP(record_time.millis()), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) break;
    if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
      return KafkaStatus(error, absl::StrCat("writing to topic ", topic_));
    }
    rd_kafka_poll(handle_.get(), 100);
  }
  ++sent_;
  rd_kafka_poll(handle_.get(), 0);
  return absl::OkStatus();
}

void EventProducer::wait(absl::Duration duration) {
  const absl::Time until = absl::Now() + duration;
  for (absl::Duration left = duration; left > absl::ZeroDuration(); left = until - absl::Now()) {
    rd_kafka_poll(handle_.get(), KafkaTimeoutMs(left));
  }
}

void EventProducer::finish(absl::Duration bound) {
  rd_kafka_flush(handle_.get(), KafkaTimeoutMs(bound));
  if (failed() > 0 && first_error_.empty()) {
    first_error_ = absl::StrCat("no acknowledgement within ", absl::FormatDuration(bound));
  }
}

}  // namespace segmentd
