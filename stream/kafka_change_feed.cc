#include "stream/kafka_change_feed.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "absl/time/clock.h"

#include "stream/change_codec.h"
#include "stream/kafka_client.h"

namespace segmentd {
namespace {

using segments::v1::MembershipChange;

constexpr size_t kBatch = 1000;
constexpr absl::Duration kWait = absl::Milliseconds(50);
constexpr absl::Duration kIdleEvery = absl::Milliseconds(100);
constexpr absl::Duration kCloseLimit = absl::Seconds(5);
// So near a change is read up to, not jumped to.
constexpr int64_t kNear = 2000;
// How many times as far back the newest change is looked for where it was not found.
constexpr int64_t kFarther = 8;

// One Follow().
class Following {
 public:
  Following(const KafkaSettings& settings, const KafkaChangeFeed::Options& options,
            std::atomic<int64_t>& unreadable,
            absl::FunctionRef<bool(const MembershipChange&)> change, absl::FunctionRef<bool()> idle)
      : settings_(settings),
        options_(options),
        unreadable_(unreadable),
        change_(change),
        idle_(idle),
        messages_(kBatch) {}
  ~Following() {
    messages_.clear();
    records_.reset();
    CloseKafkaConsumer(std::move(handle_), kCloseLimit);
  }

  absl::Status run(const std::map<Partition, int64_t>& from);

 private:
  absl::Status open();
  // Where to begin to read for a change.
  struct Start {
    // At or before that of the change with the number, and near it; the end when there is no such
    // change yet.
    int64_t offset = 0;
    // Number of the newest change before it; absent where the partition holds none.
    std::optional<int64_t> newest;
  };
  // Numbers have no gaps and a change takes one offset at least, so offset(number) >= offset(known)
  // + (number - known): jumping by that never goes too far.
  absl::StatusOr<Start> find(Partition partition, int64_t number, int64_t first, int64_t end);
  absl::StatusOr<Start> find_newest(Partition partition, int64_t first, int64_t end);
  // Gives `take` the records from `begin` to `end`, and of changes the number, until it says false
  // or the caller that it is to end.
  absl::Status scan(Partition partition, int64_t begin, int64_t end,
                    absl::FunctionRef<bool(int64_t offset, int64_t number)> take);

  // The first change wanted of a partition, until it has come.
  struct Awaited {
    int64_t number = 0;
    std::optional<int64_t> newest;
    // No change that anybody can know of by now is behind this offset: where the next record was to
    // be, open transactions counted. Known once the partition is read.
    std::optional<int64_t> known_until;
  };
  absl::Status follow(const std::map<Partition, int64_t>& starts,
                      std::map<Partition, Awaited> awaited);
  // OUT_OF_RANGE when the number is beyond the next one, as is known at a position.
  absl::Status check_ahead(Partition partition, int64_t position, Awaited& awaited) const;

  absl::Status assign(const std::map<Partition, int64_t>& starts);
  absl::Status unassign(const std::map<Partition, int64_t>& starts);
  // Null for a record that is no change.
  std::optional<std::pair<MembershipChange, int64_t>> decode(const rd_kafka_message_t& message);
  absl::Status error_of(const rd_kafka_message_t& message) const;
  // Calls `idle` when it is time. False when that says to end.
  bool go_on();

  const KafkaSettings& settings_;
  const KafkaChangeFeed::Options& options_;
  std::atomic<int64_t>& unreadable_;
  absl::FunctionRef<bool(const MembershipChange&)> change_;
  absl::FunctionRef<bool()> idle_;

  KafkaHandle handle_;
  KafkaQueue records_;
  KafkaMessages messages_;
  absl::Time idle_at_ = absl::InfinitePast();
  bool ended_ = false;
};

absl::Status Following::open() {
  absl::StatusOr<KafkaConf> conf =
      MakeKafkaConf(settings_, KafkaRole::kReader, {{"group.id", options_.group}});
  if (!conf.ok()) return conf.status();
  absl::StatusOr<KafkaHandle> handle = MakeKafkaHandle(KafkaRole::kReader, *std::move(conf));
  if (!handle.ok()) return handle.status();
  handle_ = *std::move(handle);
  records_.reset(rd_kafka_queue_get_consumer(handle_.get()));
  return absl::OkStatus();
}

absl::Status Following::run(const std::map<Partition, int64_t>& from) {
  if (absl::Status status = open(); !status.ok()) return status;
  const auto count = KafkaPartitionCount(handle_.get(), options_.topic, options_.timeout);
  if (!count.ok()) return count.status();
  for (const auto& [partition, number] : from) {
    if (partition < 0 || partition >= *count || number < 0) {
      return absl::InvalidArgumentError(fmt::format(
          "there is no change {} of partition {}: partitions go from 0 to {}, numbers begin at 0",
          number, partition, *count - 1));
    }
  }
  std::vector<Partition> all(static_cast<size_t>(*count));
  std::iota(all.begin(), all.end(), 0);
  const auto first =
      KafkaOffsets(handle_.get(), options_.topic, all, KafkaOffset::kFirst, options_.timeout);
  if (!first.ok()) return first.status();
  const auto end =
      KafkaOffsets(handle_.get(), options_.topic, all, KafkaOffset::kStable, options_.timeout);
  if (!end.ok()) return end.status();

  std::map<Partition, int64_t> starts = *end;
  std::map<Partition, Awaited> awaited;
  for (const auto& [partition, number] : from) {
    const auto start = find(partition, number, first->at(partition), end->at(partition));
    if (ended_) return absl::OkStatus();
    if (!start.ok()) return start.status();
    starts[partition] = start->offset;
    awaited[partition] = {.number = number, .newest = start->newest, .known_until = std::nullopt};
  }
  return follow(starts, std::move(awaited));
}

absl::Status Following::scan(Partition partition, int64_t begin, int64_t end,
                             absl::FunctionRef<bool(int64_t offset, int64_t number)> take) {
  if (absl::Status status = assign({{partition, begin}}); !status.ok()) return status;
  absl::Status status;
  for (int64_t position = begin; status.ok() && position < end && go_on();) {
    messages_.take(records_.get(), kWait);
    for (const rd_kafka_message_t* message : messages_.all()) {
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        position = std::max(position, message->offset);
      } else if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        status = error_of(*message);
        if (!status.ok()) break;
      } else {
        position = message->offset + 1;
        const auto change = decode(*message);
        if (!change || take(message->offset, change->second)) continue;
        position = end;
        break;
      }
    }
  }
  absl::Status unassigned = unassign({{partition, begin}});
  if (!status.ok()) return status;
  if (!unassigned.ok()) return unassigned;
  return ended_ ? absl::CancelledError("told to end") : absl::OkStatus();
}

absl::StatusOr<Following::Start> Following::find(Partition partition, int64_t number, int64_t first,
                                                 int64_t end) {
  for (int64_t begin = first; begin < end;) {
    std::optional<std::pair<int64_t, int64_t>> known;
    const absl::Status status =
        scan(partition, begin, end, [&](int64_t offset, int64_t change_number) {
          known = {change_number, offset};
          return false;
        });
    if (!status.ok()) return status;
    if (!known) {
      if (begin == first) return Start{end, std::nullopt};
      break;
    }
    const int64_t distance = number - known->first;
    if (distance <= 0) return Start{known->second, number - 1};
    if (distance <= kNear) return Start{std::min(known->second + 1, end), known->first};
    // Beyond the end, by a number that any caller may name.
    if (distance >= end - known->second) break;
    begin = known->second + distance;
  }
  return find_newest(partition, first, end);
}

absl::StatusOr<Following::Start> Following::find_newest(Partition partition, int64_t first,
                                                        int64_t end) {
  for (int64_t back = kNear;; back *= kFarther) {
    const int64_t begin = std::max(first, end - back);
    std::optional<int64_t> newest;
    const absl::Status status = scan(partition, begin, end, [&](int64_t, int64_t number) {
      newest = number;
      return true;
    });
    if (!status.ok()) return status;
    if (newest || begin == first) return Start{end, newest};
  }
}

absl::Status Following::follow(const std::map<Partition, int64_t>& starts,
                               std::map<Partition, Awaited> awaited) {
  if (absl::Status status = assign(starts); !status.ok()) return status;
  while (true) {
    messages_.take(records_.get(), kWait);
    for (const rd_kafka_message_t* message : messages_.all()) {
      const auto it = awaited.find(message->partition);
      if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (it == awaited.end()) continue;
        absl::Status status = check_ahead(message->partition, message->offset, it->second);
        if (!status.ok()) return status;
        continue;
      }
      if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (absl::Status status = error_of(*message); !status.ok()) return status;
        continue;
      }
      const auto change = decode(*message);
      if (!change) continue;
      if (it != awaited.end()) {
        const int64_t number = it->second.number;
        if (change->second < number) {
          it->second.newest = change->second;
          absl::Status status = check_ahead(message->partition, message->offset + 1, it->second);
          if (!status.ok()) return status;
          continue;
        }
        if (change->second > number) {
          return absl::OutOfRangeError(
              fmt::format("change {} of partition {} is no longer held: the oldest is {}. List the "
                          "members anew and follow from the numbers told with them",
                          number, message->partition, change->second));
        }
        awaited.erase(it);
      }
      idle_at_ = absl::Now();
      if (!change_(change->first)) return absl::OkStatus();
    }
    if (!go_on()) return absl::OkStatus();
  }
}

absl::Status Following::check_ahead(Partition partition, int64_t position, Awaited& awaited) const {
  if (!awaited.known_until) {
    // As the fetch has told that brought the partition this far.
    int64_t low = 0;
    int64_t high = 0;
    if (rd_kafka_get_watermark_offsets(handle_.get(), options_.topic.c_str(), partition, &low,
                                       &high) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        high < 0) {
      return absl::OkStatus();
    }
    awaited.known_until = high;
  }
  if (position < *awaited.known_until || !awaited.newest) return absl::OkStatus();
  const int64_t next = *awaited.newest + 1;
  if (awaited.number <= next) return absl::OkStatus();
  return absl::OutOfRangeError(fmt::format(
      "there is no change {} of partition {} to come: the next is {}. Was the topic made "
      "anew? List the members anew and follow from the numbers told with them",
      awaited.number, partition, next));
}

absl::Status Following::assign(const std::map<Partition, int64_t>& starts) {
  const KafkaPartitions list(rd_kafka_topic_partition_list_new(static_cast<int>(starts.size())));
  for (const auto& [partition, offset] : starts) {
    rd_kafka_topic_partition_list_add(list.get(), options_.topic.c_str(), partition)->offset =
        offset;
  }
  const KafkaError error(rd_kafka_incremental_assign(handle_.get(), list.get()));
  if (error == nullptr) return absl::OkStatus();
  return KafkaStatus(*error, fmt::format("reading topic {}", options_.topic));
}

absl::Status Following::unassign(const std::map<Partition, int64_t>& starts) {
  const KafkaPartitions list(rd_kafka_topic_partition_list_new(static_cast<int>(starts.size())));
  for (const auto& [partition, offset] : starts) {
    rd_kafka_topic_partition_list_add(list.get(), options_.topic.c_str(), partition);
  }
  const KafkaError error(rd_kafka_incremental_unassign(handle_.get(), list.get()));
  if (error == nullptr) return absl::OkStatus();
  return KafkaStatus(*error, fmt::format("ending to read topic {}", options_.topic));
}

std::optional<std::pair<MembershipChange, int64_t>> Following::decode(
    const rd_kafka_message_t& message) {
  absl::StatusOr<MembershipChange> change = DecodeChange(KafkaValue(message));
  if (change.ok()) {
    if (const auto id = ParseChangeId(change->change_id()); id.ok()) {
      return std::pair(*std::move(change), id->number);
    }
  }
  unreadable_.fetch_add(1, std::memory_order_relaxed);
  spdlog::warn("topic {}, partition {}, offset {}: the record is no change", options_.topic,
               message.partition, message.offset);
  return std::nullopt;
}

absl::Status Following::error_of(const rd_kafka_message_t& message) const {
  absl::Status status = KafkaStatus(message.err,
                                    fmt::format("reading topic {}, partition {} at offset {}",
                                                options_.topic, message.partition, message.offset),
                                    rd_kafka_message_errstr(&message));
  if (!IsPassingKafkaError(message.err)) return status;
  spdlog::warn("{}", std::string_view(status.message().data(), status.message().size()));
  return absl::OkStatus();
}

bool Following::go_on() {
  const absl::Time now = absl::Now();
  if (now < idle_at_ + kIdleEvery) return true;
  idle_at_ = now;
  ended_ = !idle_();
  return !ended_;
}

}  // namespace

absl::Status KafkaChangeFeed::Follow(
    const std::map<int32_t, int64_t>& from,
    absl::FunctionRef<bool(const segments::v1::MembershipChange&)> change,
    absl::FunctionRef<bool()> idle) {
  return Following(settings_, options_, unreadable_, change, idle).run(from);
}

}  // namespace segmentd
