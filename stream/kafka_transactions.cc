#include "stream/kafka_transactions.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>

#include "absl/time/clock.h"

namespace segmentd {
namespace {

// Delivery reports are served after so many writes: they hold memory until then.
constexpr uint32_t kServeEvery = 512;
// The client's queue, bounded in records and bytes.
constexpr const char* kQueueRecords = "100000";
constexpr const char* kQueueKilobytes = "65536";
constexpr absl::Duration kWarmLimit = absl::Seconds(10);

// Null says "no value"; what is empty needs an address.
void* Address(bool there, std::string_view bytes) {
  if (!there) return nullptr;
  return const_cast<char*>(bytes.data() == nullptr ? "" : bytes.data());
}

}  // namespace

absl::StatusOr<std::unique_ptr<KafkaTransactions>> KafkaTransactions::Create(
    const KafkaSettings& settings, Options options, const KafkaGroupMember& member) {
  std::unique_ptr<KafkaTransactions> transactions(
      new KafkaTransactions(settings, std::move(options), member));
  if (absl::Status status = transactions->renew(); !status.ok()) return status;
  return transactions;
}

KafkaTransactions::~KafkaTransactions() {
  abort();
  end_session();
}

absl::Status KafkaTransactions::renew() {
  // A request still on its way belongs to the session that ends here: the broker refuses it once
  // the new one has its epoch.
  end_session();
  absl::Status status = open_session();
  if (!status.ok()) end_session();
  return status;
}

void KafkaTransactions::end_session() {
  open_ = false;
  spent_ = true;
  changes_.reset();
  dead_letters_.reset();
  changelog_.reset();
  if (handle_ == nullptr) return;
  rd_kafka_purge(handle_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                    RD_KAFKA_PURGE_F_NON_BLOCKING);
  handle_.reset();
}

absl::Status KafkaTransactions::open_session() {
  const std::string what =
      fmt::format("opening a session of transactional ID {}", options_.transactional_id);
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings_, KafkaRole::kWriter,
                    {{"transactional.id", options_.transactional_id},
                     {"transaction.timeout.ms", fmt::format("{}", timeout_ms())},
                     // A record that the broker does not take in this time fails the transaction.
                     {"message.timeout.ms", fmt::format("{}", timeout_ms())},
                     {"batch.size", fmt::format("{}", kMaxBatchBytes)},
                     {"queue.buffering.max.messages", kQueueRecords},
                     {"queue.buffering.max.kbytes", kQueueKilobytes},
                     {"queue.buffering.max.ms", "100"}});
  if (!conf.ok()) return conf.status();
  rd_kafka_conf_set_opaque(conf->get(), this);
  // Without it a commit waits in steps of 10 ms.
  rd_kafka_conf_set_dr_msg_cb(conf->get(),
                              [](rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
                                static_cast<KafkaTransactions*>(opaque)->delivered(*message);
                              });
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kWriter, *std::move(conf));
  if (!handle.ok()) return handle.status();
  handle_ = *std::move(handle);
  const auto topic = [&](const std::string& name) {
    return KafkaTopic(rd_kafka_topic_new(handle_.get(), name.c_str(), nullptr));
  };
  changes_ = topic(options_.topics.changes);
  dead_letters_ = topic(options_.topics.dead_letters);
  changelog_ = topic(options_.topics.changelog);
  if (changes_ == nullptr || dead_letters_ == nullptr || changelog_ == nullptr) {
    return KafkaStatus(rd_kafka_last_error(), what);
  }

  // Three times the timeout: an open transaction of the session before is aborted first, and only
  // after its own timeout if the broker that coordinates it has just changed.
  const absl::Time deadline = absl::Now() + 3 * options_.timeout;
  while (true) {
    const KafkaError error(rd_kafka_init_transactions(handle_.get(), timeout_ms()));
    if (error == nullptr) break;
    if (!rd_kafka_error_is_retriable(error.get()) || absl::Now() >= deadline) {
      return KafkaStatus(*error, what);
    }
    spdlog::info("{}: {}, trying again", what, rd_kafka_error_string(error.get()));
  }
  if (absl::Status status = prewarm(); !status.ok()) return status;
  undelivered_.clear();
  spent_ = false;
  return absl::OkStatus();
}

// The first record to a topic whose partitions are not known yet is held back for a second.
absl::Status KafkaTransactions::prewarm() {
  const absl::Time deadline = absl::Now() + kWarmLimit;
  for (rd_kafka_topic_t* topic : {changes_.get(), dead_letters_.get(), changelog_.get()}) {
    const std::string what = fmt::format("asking for topic {}", rd_kafka_topic_name(topic));
    const rd_kafka_metadata_t* metadata = nullptr;
    const rd_kafka_resp_err_t error = rd_kafka_metadata(handle_.get(), 0, topic, &metadata,
                                                        KafkaTimeoutMs(deadline - absl::Now()));
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return KafkaStatus(error, what);
    const KafkaPtr<const rd_kafka_metadata_t, rd_kafka_metadata_destroy> owner(metadata);
    if (metadata->topic_cnt != 1) return KafkaStatus(RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, what);
    if (metadata->topics[0].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return KafkaStatus(metadata->topics[0].err, what);
    }
  }
  return absl::OkStatus();
}

absl::Status KafkaTransactions::begin() {
  if (spent_) {
    return absl::FailedPreconditionError(
        fmt::format("the session of transactional ID {} has ended: it must be renewed",
                    options_.transactional_id));
  }
  const KafkaError error(rd_kafka_begin_transaction(handle_.get()));
  if (error != nullptr) {
    spent_ = true;
    return KafkaStatus(*error,
                       fmt::format("beginning a transaction of {}", options_.transactional_id));
  }
  open_ = true;
  return absl::OkStatus();
}

rd_kafka_resp_err_t KafkaTransactions::produce(const Write& write) {
  rd_kafka_topic_t* topic = write.topic == Write::Topic::kChanges       ? changes_.get()
                            : write.topic == Write::Topic::kDeadLetters ? dead_letters_.get()
                                                                        : changelog_.get();
  if (write.headers.empty()) {
    const int failed = rd_kafka_produce(
        topic, write.partition, RD_KAFKA_MSG_F_COPY, Address(write.has_value, write.value),
        write.has_value ? write.value.size() : 0, Address(write.has_key, write.key),
        write.has_key ? write.key.size() : 0, nullptr);
    return failed == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_last_error();
  }
  KafkaPtr<rd_kafka_headers_t, rd_kafka_headers_destroy> headers(
      rd_kafka_headers_new(write.headers.size()));
  for (const HeaderView& header : write.headers) {
    rd_kafka_header_add(headers.get(), header.name.data(), static_cast<ssize_t>(header.name.size()),
                        Address(header.has_value, header.value),
                        static_cast<ssize_t>(header.value.size()));
  }
  std::array<rd_kafka_vu_t, 6> parts{};
  parts[0].vtype = RD_KAFKA_VTYPE_RKT;
  parts[0].u.rkt = topic;
  parts[1].vtype = RD_KAFKA_VTYPE_PARTITION;
  parts[1].u.i32 = write.partition;
  parts[2].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
  parts[2].u.i = RD_KAFKA_MSG_F_COPY;
  parts[3].vtype = RD_KAFKA_VTYPE_KEY;
  parts[3].u.mem = {.ptr = Address(write.has_key, write.key),
                    .size = write.has_key ? write.key.size() : 0};
  parts[4].vtype = RD_KAFKA_VTYPE_VALUE;
  parts[4].u.mem = {.ptr = Address(write.has_value, write.value),
                    .size = write.has_value ? write.value.size() : 0};
  parts[5].vtype = RD_KAFKA_VTYPE_HEADERS;
  parts[5].u.headers = headers.get();
  const KafkaError error(rd_kafka_produceva(handle_.get(), parts.data(), parts.size()));
  if (error != nullptr) return rd_kafka_error_code(error.get());
  // They are the record's now.
  (void)headers.release();
  return RD_KAFKA_RESP_ERR_NO_ERROR;
}

absl::Status KafkaTransactions::write(const Write& write) {
  if (!open_) return absl::FailedPreconditionError("a write outside of a transaction");
  if (++unserved_ >= kServeEvery) {
    unserved_ = 0;
    rd_kafka_poll(handle_.get(), 0);
  }
  rd_kafka_resp_err_t error = produce(write);
  if (error == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
    const absl::Time deadline = absl::Now() + options_.timeout;
    while (error == RD_KAFKA_RESP_ERR__QUEUE_FULL && absl::Now() < deadline) {
      rd_kafka_poll(handle_.get(), 10);
      error = produce(write);
    }
  }
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return absl::OkStatus();
  spent_ = true;
  return KafkaStatus(
      error,
      fmt::format("writing {} bytes to partition {} of {}", write.key.size() + write.value.size(),
                  write.partition,
                  write.topic == Write::Topic::kChanges       ? options_.topics.changes
                  : write.topic == Write::Topic::kDeadLetters ? options_.topics.dead_letters
                                                              : options_.topics.changelog),
      fmt::format("{}{}", rd_kafka_err2str(error), details()));
}

CommitResult KafkaTransactions::commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                                       std::string* why) {
  const auto failed = [&](const rd_kafka_error_t& error, std::string_view what) {
    *why = fmt::format("{}: {}: {}{}", what, rd_kafka_error_name(&error),
                       rd_kafka_error_string(&error), details());
  };
  if (!open_ || spent_) {
    *why = open_ ? "a write before it failed" : "no transaction is open";
    abort();
    spent_ = true;
    return not_committed();
  }
  if (input_offsets.empty()) {
    // It is with the offsets that the broker checks whether the partitions are still ours.
    *why = "a transaction without input offsets";
    abort();
    spent_ = true;
    return CommitResult::kAborted;
  }

  const absl::StatusOr<KafkaGroupMember::Metadata> metadata = member_.metadata();
  if (!metadata.ok()) {
    *why = std::string(metadata.status().message());
    abort();
    spent_ = true;
    return CommitResult::kFenced;
  }
  const KafkaPartitions offsets(
      rd_kafka_topic_partition_list_new(static_cast<int>(input_offsets.size())));
  for (const auto& [partition, offset] : input_offsets) {
    rd_kafka_topic_partition_list_add(offsets.get(), options_.topics.events.c_str(), partition)
        ->offset = offset.value();
  }
  if (const KafkaError error(rd_kafka_send_offsets_to_transaction(handle_.get(), offsets.get(),
                                                                  metadata->get(), timeout_ms()));
      error != nullptr) {
    failed(*error, "sending the input offsets");
    abort();
    spent_ = true;
    return not_committed();
  }

  const KafkaError error(rd_kafka_commit_transaction(handle_.get(), timeout_ms()));
  unserved_ = 0;
  if (error == nullptr) {
    open_ = false;
    return CommitResult::kCommitted;
  }
  failed(*error, "committing");
  spent_ = true;
  if (!rd_kafka_error_txn_requires_abort(error.get())) {
    // The request may have got through, or may yet.
    open_ = false;
    return CommitResult::kUnknown;
  }
  const KafkaError abort_error(rd_kafka_abort_transaction(handle_.get(), timeout_ms()));
  open_ = false;
  return abort_error == nullptr ? not_committed() : CommitResult::kUnknown;
}

void KafkaTransactions::abort() {
  if (!open_) return;
  open_ = false;
  if (rd_kafka_fatal_error(handle_.get(), nullptr, 0) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    spent_ = true;
    return;
  }
  const KafkaError error(rd_kafka_abort_transaction(handle_.get(), timeout_ms()));
  if (error != nullptr) {
    // The next session has the broker abort it.
    spent_ = true;
    spdlog::info("aborting a transaction of {}: {}", options_.transactional_id,
                 rd_kafka_error_string(error.get()));
  }
  undelivered_.clear();
}

CommitResult KafkaTransactions::not_committed() const {
  return member_.metadata().ok() ? CommitResult::kAborted : CommitResult::kFenced;
}

std::string KafkaTransactions::details() const {
  std::string text;
  if (!undelivered_.empty()) text += fmt::format("; {}", undelivered_);
  char why[512] = "";
  if (rd_kafka_fatal_error(handle_.get(), why, sizeof(why)) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    text += fmt::format("; {}", why);
  }
  return text;
}

void KafkaTransactions::delivered(const rd_kafka_message_t& message) {
  // A repeated request whose first try got through counts as delivered, without an offset: no
  // error.
  if (message.err == RD_KAFKA_RESP_ERR_NO_ERROR || !undelivered_.empty()) return;
  undelivered_ =
      fmt::format("a record of {} bytes to topic {}, partition {} was not delivered: {}: {}",
                  message.key_len + message.len, rd_kafka_topic_name(message.rkt),
                  message.partition, rd_kafka_err2name(message.err), rd_kafka_err2str(message.err));
}

}  // namespace segmentd
