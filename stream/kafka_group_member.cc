#include "stream/kafka_group_member.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

namespace segmentd {
namespace {

constexpr absl::Duration kCloseLimit = absl::Seconds(5);

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
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings, KafkaRole::kMember,
                    {{"group.id", options.group}, {"group.instance.id", options.instance}});
  if (!conf.ok()) return conf.status();
  std::unique_ptr<KafkaGroupMember> member(new KafkaGroupMember(std::move(options)));
  rd_kafka_conf_set_opaque(conf->get(), member.get());
  rd_kafka_conf_set_rebalance_cb(
      conf->get(), [](rd_kafka_t* handle, rd_kafka_resp_err_t what,
                      rd_kafka_topic_partition_list_t* partitions, void* opaque) {
        static_cast<KafkaGroupMember*>(opaque)->rebalance(handle, what, partitions);
      });
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kMember, *std::move(conf));
  if (!handle.ok()) return handle.status();
  member->handle_ = *std::move(handle);
  member->queue_.reset(rd_kafka_queue_get_consumer(member->handle_.get()));
  rd_kafka_queue_cb_event_enable(
      member->queue_.get(),
      [](rd_kafka_t*, void* opaque) { static_cast<KafkaGroupMember*>(opaque)->options_.wake(); },
      member.get());
  return member;
}

KafkaGroupMember::~KafkaGroupMember() {
  if (handle_ == nullptr) return;
  rd_kafka_queue_cb_event_enable(queue_.get(), nullptr, nullptr);
  queue_.reset();
  listener_ = {};
  CloseKafkaConsumer(std::move(handle_), kCloseLimit);
}

absl::Status KafkaGroupMember::join(Source::Listener listener) {
  listener_ = std::move(listener);
  const KafkaPartitions topics(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(topics.get(), options_.topic.c_str(), RD_KAFKA_PARTITION_UA);
  const rd_kafka_resp_err_t error = rd_kafka_subscribe(handle_.get(), topics.get());
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
  return KafkaStatus(error,
                     fmt::format("joining group {} for topic {}", options_.group, options_.topic));
}

absl::StatusOr<bool> KafkaGroupMember::poll() {
  listener_called_ = false;
  while (rd_kafka_message_t* message = rd_kafka_consumer_poll(handle_.get(), 0)) {
    const KafkaPtr<rd_kafka_message_t, rd_kafka_message_destroy> owner(message);
    const std::string what =
        fmt::format("member {} of group {}", options_.instance, options_.group);
    switch (message->err) {
      case RD_KAFKA_RESP_ERR__FATAL: {
        char why[512] = "";
        const rd_kafka_resp_err_t error = rd_kafka_fatal_error(handle_.get(), why, sizeof(why));
        if (error == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
          return absl::AbortedError(
              fmt::format("{}: another process has taken this place: it was started with the same "
                          "instance name. Give each process its own",
                          what));
        }
        return absl::AbortedError(fmt::format("{}: {}: {}", what, rd_kafka_err2name(error), why));
      }
      case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        return KafkaStatus(message->err, what, rd_kafka_message_errstr(message));
      default:
        // What the client tells while it goes on trying.
        spdlog::warn("{}: {}: {}", what, rd_kafka_err2name(message->err),
                     rd_kafka_message_errstr(message));
    }
  }
  return listener_called_;
}

void KafkaGroupMember::rebalance(rd_kafka_t* handle, rd_kafka_resp_err_t what,
                                 rd_kafka_topic_partition_list_t* partitions) {
  const std::vector<Partition> list = PartitionsOf(*partitions);
  // Nothing is assigned to this consumer itself, so what it acknowledges are empty lists.
  const KafkaPartitions none(rd_kafka_topic_partition_list_new(0));
  if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
    const KafkaError error(rd_kafka_incremental_assign(handle, none.get()));
    spdlog::info("member {} of group {}: partitions given: [{}]", options_.instance, options_.group,
                 fmt::join(list, ", "));
    if (!list.empty() && listener_.given) {
      listener_called_ = true;
      listener_.given(list);
    }
    return;
  }
  const bool lost = rd_kafka_assignment_lost(handle) != 0;
  spdlog::info("member {} of group {}: partitions {}: [{}]", options_.instance, options_.group,
               lost ? "lost" : "revoked", fmt::join(list, ", "));
  const auto& tell = lost ? listener_.lost : listener_.revoked;
  if (!list.empty() && tell) {
    listener_called_ = true;
    tell(list);
  }
  // Only now may somebody else have them.
  const KafkaError error(rd_kafka_incremental_unassign(handle, none.get()));
}

absl::StatusOr<KafkaGroupMember::Metadata> KafkaGroupMember::metadata() const {
  Metadata metadata(rd_kafka_consumer_group_metadata(handle_.get()));
  const auto gone = [&](std::string_view why) {
    return absl::AbortedError(fmt::format("{} is no member of group {} any more: {}",
                                          options_.instance, options_.group, why));
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
