#include "stream/kafka_group_member.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/time/clock.h"

namespace segmentd {
namespace {

constexpr absl::Duration kCloseLimit = absl::Seconds(5);
// So often in such a time a fenced member joins again.
constexpr size_t kRejoins = 3;
constexpr absl::Duration kRejoinPeriod = absl::Minutes(5);

std::vector<Partition> PartitionsOf(const rd_kafka_topic_partition_list_t& list) {
  std::vector<Partition> partitions;
  for (const rd_kafka_topic_partition_t& item :
       absl::MakeConstSpan(list.elems, static_cast<size_t>(list.cnt))) {
    partitions.push_back(item.partition);
  }
  return partitions;
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaGroupMember>> KafkaGroupMember::Create(
    const KafkaSettings& settings, Options options) {
  std::unique_ptr<KafkaGroupMember> member(new KafkaGroupMember(settings, std::move(options)));
  if (absl::Status status = member->open(); !status.ok()) return status;
  return member;
}

KafkaGroupMember::~KafkaGroupMember() {
  listener_ = {};
  close();
}

absl::Status KafkaGroupMember::open() {
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings_, KafkaRole::kMember,
                    {{"group.id", options_.group}, {"group.instance.id", options_.instance}});
  if (!conf.ok()) return conf.status();
  rd_kafka_conf_set_opaque(conf->get(), this);
  rd_kafka_conf_set_rebalance_cb(
      conf->get(), [](rd_kafka_t* handle, rd_kafka_resp_err_t what,
                      rd_kafka_topic_partition_list_t* partitions, void* opaque) {
        static_cast<KafkaGroupMember*>(opaque)->rebalance(handle, what, partitions);
      });
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kMember, *std::move(conf));
  if (!handle.ok()) return handle.status();
  handle_ = *std::move(handle);
  queue_.reset(rd_kafka_queue_get_consumer(handle_.get()));
  rd_kafka_queue_cb_event_enable(
      queue_.get(),
      [](rd_kafka_t*, void* opaque) { static_cast<KafkaGroupMember*>(opaque)->options_.wake(); },
      this);
  return absl::OkStatus();
}

void KafkaGroupMember::close() {
  if (handle_ == nullptr) return;
  rd_kafka_queue_cb_event_enable(queue_.get(), nullptr, nullptr);
  queue_.reset();
  CloseKafkaConsumer(std::move(handle_), kCloseLimit);
}

absl::Status KafkaGroupMember::join(Source::Listener listener) {
  listener_ = std::move(listener);
  return subscribe();
}

absl::Status KafkaGroupMember::subscribe() {
  const KafkaPartitions topics(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(topics.get(), options_.topic.c_str(), RD_KAFKA_PARTITION_UA);
  const rd_kafka_resp_err_t error = rd_kafka_subscribe(handle_.get(), topics.get());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
  return KafkaStatus(error,
                     fmt::format("joining group {} for topic {}", options_.group, options_.topic));
}

absl::StatusOr<bool> KafkaGroupMember::poll() {
  listener_called_ = false;
  bool fatal = false;
  while (rd_kafka_message_t* message = rd_kafka_consumer_poll(handle_.get(), 0)) {
    const KafkaPtr<rd_kafka_message_t, rd_kafka_message_destroy> owner(message);
    switch (message->err) {
      case RD_KAFKA_RESP_ERR__FATAL:
        fatal = true;
        break;
      case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        return KafkaStatus(message->err, name(), rd_kafka_message_errstr(message));
      default:
        // What the client tells while it goes on trying.
        spdlog::warn("{}: {}: {}", name(), rd_kafka_err2name(message->err),
                     rd_kafka_message_errstr(message));
    }
  }
  if (fatal) {
    if (absl::Status status = join_again(); !status.ok()) return status;
  }
  return listener_called_;
}

absl::Status KafkaGroupMember::join_again() {
  char text[512] = "";
  const rd_kafka_resp_err_t error = rd_kafka_fatal_error(handle_.get(), text, sizeof(text));
  const absl::Time now = absl::Now();
  std::erase_if(rejoined_, [&](absl::Time at) { return now - at > kRejoinPeriod; });
  if (rejoined_.size() >= kRejoins) {
    if (error == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
      return absl::AbortedError(fmt::format(
          "{}: another process takes this place again and again: it was started with the "
          "same instance name. Give each process its own",
          name()));
    }
    return absl::AbortedError(fmt::format("{}: {}: {}", name(), rd_kafka_err2name(error), text));
  }
  rejoined_.push_back(now);
  spdlog::warn(
      "{}: {}: {}; another process was started with the same instance name, or the session timed "
      "out in an outage; joining again",
      name(), rd_kafka_err2name(error), text);
  const std::vector<Partition> gone(held_.begin(), held_.end());
  held_.clear();
  if (!gone.empty() && listener_.lost) {
    listener_called_ = true;
    listener_.lost(gone);
  }
  closing_ = true;
  close();
  closing_ = false;
  if (absl::Status status = open(); !status.ok()) return status;
  return subscribe();
}

void KafkaGroupMember::rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t what,
                                 rd_kafka_topic_partition_list_t* partitions) {
  const std::vector<Partition> list =
      closing_ ? std::vector<Partition>() : PartitionsOf(*partitions);
  // Nothing is assigned to this consumer itself, so what it acknowledges are empty lists.
  const KafkaPartitions none(rd_kafka_topic_partition_list_new(0));
  if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    const KafkaError error(rd_kafka_incremental_assign(handle, none.get()));
    spdlog::info("{}: partitions given: [{}]", name(), fmt::join(list, ", "));
    held_.insert(list.begin(), list.end());
    if (listener_.given) {
      listener_called_ = true;
      listener_.given(list);
    }
    return;
  }
  const bool lost = rd_kafka_assignment_lost(handle) != 0;
  spdlog::info("{}: partitions {}: [{}]", name(), lost ? "lost" : "revoked", fmt::join(list, ", "));
  for (const Partition partition : list) held_.erase(partition);
  const auto& tell = lost ? listener_.lost : listener_.revoked;
  if (!list.empty() && tell) {
    listener_called_ = true;
    tell(list);
  }
  // Only now may somebody else have them.
  const KafkaError error(rd_kafka_incremental_unassign(handle, none.get()));
}

std::string KafkaGroupMember::name() const {
  return fmt::format("member {} of group {}", options_.instance, options_.group);
}

absl::StatusOr<KafkaGroupMember::Metadata> KafkaGroupMember::metadata() const {
  Metadata metadata(rd_kafka_consumer_group_metadata(handle_.get()));
  const auto gone = [&](std::string_view why) {
    return absl::AbortedError(fmt::format("{} is no member any more: {}", name(), why));
  };
  if (metadata == nullptr) return gone("the client knows of no group");
  if (rd_kafka_consumer_group_metadata_generation_id(metadata.get()) < 0) {
    return gone("it has no generation");
  }
  const char* id = rd_kafka_consumer_group_metadata_member_id(metadata.get());
  if (id == nullptr || *id == '\0') return gone("it has no member ID");
  if (rd_kafka_assignment_lost(handle_.get()) != 0) return gone("its partitions are lost");
  return metadata;
}

}  // namespace segmentd
