// What segmentd relies on of Kafka and its client, against a real broker.
#include "stream/kafka_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <librdkafka/rdkafka_mock.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"

#include "app/event_producer.h"
#include "segment/definition_text.h"
#include "stream/change_codec.h"
#include "stream/kafka_change_feed.h"
#include "stream/kafka_changelog.h"
#include "stream/kafka_definition_log.h"
#include "stream/kafka_ends.h"
#include "stream/kafka_pulse.h"
#include "stream/kafka_source.h"
#include "stream/kafka_topics.h"
#include "stream/kafka_transactions.h"
#include "stream/task_board.h"
#include "tests/kafka/broker.h"

namespace segmentd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr absl::Duration kLimit = absl::Seconds(60);

class WallClock : public Clock {
 public:
  Time wall() override { return Time::Millis(absl::ToUnixMillis(absl::Now())); }
  absl::Duration monotonic() override {
    return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }
};

std::string_view Text(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}
#define ASSERT_OK(expression)                   \
  do {                                          \
    const absl::Status& status_ = (expression); \
    ASSERT_TRUE(status_.ok()) << status_;       \
  } while (false)

#define EXPECT_OK(expression)                   \
  do {                                          \
    const absl::Status& status_ = (expression); \
    EXPECT_TRUE(status_.ok()) << status_;       \
  } while (false)

KafkaSettings Settings(const Broker& broker = Broker::Get()) {
  return *KafkaSettings::Parse(broker.address());
}

// Creates a topic with the given settings, as an operator would.
void CreateTopic(const std::string& name, int partitions,
                 const std::map<std::string, std::string>& config = {}) {
  KafkaHandle handle =
      *MakeKafkaHandle(KafkaRole::kReader, *MakeKafkaConf(Settings(), KafkaRole::kReader));
  KafkaPtr<rd_kafka_NewTopic_t, rd_kafka_NewTopic_destroy> topic(
      rd_kafka_NewTopic_new(name.c_str(), partitions, 1, nullptr, 0));
  for (const auto& [key, value] : config) {
    rd_kafka_NewTopic_set_config(topic.get(), key.c_str(), value.c_str());
  }
  KafkaQueue queue(rd_kafka_queue_new(handle.get()));
  rd_kafka_NewTopic_t* list[] = {topic.get()};
  rd_kafka_CreateTopics(handle.get(), list, 1, nullptr, queue.get());
  KafkaEvent event(rd_kafka_queue_poll(queue.get(), KafkaTimeoutMs(kLimit)));
  ASSERT_NE(event, nullptr);
  ASSERT_EQ(rd_kafka_event_error(event.get()), RD_KAFKA_RESP_ERR_NO_ERROR);
}

// Appends plain records to a topic.
class Appender {
 public:
  explicit Appender(std::string topic) : topic_(std::move(topic)) {
    KafkaConf conf = *MakeKafkaConf(Settings(), KafkaRole::kWriter);
    rd_kafka_conf_set_dr_msg_cb(
        conf.get(), [](rd_kafka_t*, const rd_kafka_message_t* message, void*) {
          if (message->_private != nullptr) {
            *static_cast<rd_kafka_resp_err_t*>(message->_private) = message->err;
          }
        });
    handle_ = *MakeKafkaHandle(KafkaRole::kWriter, std::move(conf));
  }

  // Returns when the broker has it.
  rd_kafka_resp_err_t append(Partition partition, const std::string& key, const std::string& value,
                             int64_t record_time_ms = 0) {
    rd_kafka_resp_err_t result = RD_KAFKA_RESP_ERR__IN_PROGRESS;
    const rd_kafka_resp_err_t error = rd_kafka_producev(
        handle_.get(), RD_KAFKA_V_TOPIC(topic_.c_str()), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_KEY(key.data(), key.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(value.data()), value.size()),
        RD_KAFKA_V_HEADER("content-type", "text/plain", -1), RD_KAFKA_V_HEADER("empty", "", 0),
        RD_KAFKA_V_TIMESTAMP(record_time_ms), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_OPAQUE(&result), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return error;
    rd_kafka_flush(handle_.get(), KafkaTimeoutMs(kLimit));
    return result;
  }

 private:
  std::string topic_;
  KafkaHandle handle_;
};

// A source whose partitions start at once at their first record or where a test says.
class Reading {
 public:
  explicit Reading(const KafkaTopics& topics, std::string instance = "worker-1",
                   const Broker& broker = Broker::Get()) {
    auto source = KafkaSource::Create(
        Settings(broker),
        {.topic = topics.events, .group = topics.events, .instance = std::move(instance)}, clock_);
    EXPECT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
    source_->listen({.given =
                         [this](const std::vector<Partition>& partitions) {
                           for (const Partition p : partitions) {
                             given.insert(p);
                             if (!start_given) continue;
                             EXPECT_TRUE(source_->start(p, Offset(0)).ok());
                           }
                         },
                     .revoked =
                         [this](const std::vector<Partition>& partitions) {
                           for (const Partition p : partitions) given.erase(p), revoked.insert(p);
                         },
                     .lost =
                         [this](const std::vector<Partition>& partitions) {
                           for (const Partition p : partitions) given.erase(p), lost.insert(p);
                         }});
  }

  // Polls until `done`, keeping what comes.
  template <typename Done>
  [[nodiscard]] bool poll_until(Done done) {
    const absl::Time deadline = absl::Now() + kLimit;
    while (!done()) {
      if (absl::Now() > deadline) return false;
      poll_once();
    }
    return true;
  }
  void poll_once(absl::Duration wait = absl::Milliseconds(100)) {
    const absl::StatusOr<const Batch*> batch = source_->poll(wait);
    if (!batch.ok()) {
      errors.push_back(batch.status());
      return;
    }
    for (const Record& record : (*batch)->records) {
      values.emplace_back(record.value);
      offsets.push_back(record.offset.value());
      keys.emplace_back(record.key);
      for (const HeaderView& header : record.headers) {
        headers.emplace_back(fmt::format("{}={}", header.name, header.value));
      }
      record_times.push_back(record.record_time);
    }
    for (const Batch::End& end : (*batch)->ends) ends.push_back(end);
  }
  // The end of a partition, as of now or later.
  std::optional<Batch::End> end_from_now(Partition partition) {
    const Time now = clock_.wall();
    std::optional<Batch::End> found;
    const bool came = poll_until([&] {
      for (const Batch::End& end : ends) {
        if (end.partition == partition && end.asked_at >= now) found = end;
      }
      return found.has_value();
    });
    EXPECT_TRUE(came);
    return found;
  }

  KafkaSource& source() { return *source_; }
  WallClock& clock() { return clock_; }

  bool start_given = true;
  std::set<Partition> given, revoked, lost;
  std::vector<std::string> values, keys, headers;
  std::vector<int64_t> offsets;
  std::vector<Time> record_times;
  std::vector<Batch::End> ends;
  std::vector<absl::Status> errors;

 private:
  WallClock clock_;
  std::unique_ptr<KafkaSource> source_;
};

absl::Status KafkaPut(Transactions& transactions, std::string_view key) {
  return transactions.write({.topic = Write::Topic::kChangelog, .key = key, .value = "v"});
}

class KafkaClient : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto partitions = PrepareKafkaTopics(Settings(), topics_, {.partitions = 2}, kLimit);
    ASSERT_TRUE(partitions.ok()) << partitions.status();
    ASSERT_EQ(*partitions, 2);
  }

  std::unique_ptr<KafkaTransactions> transactions(Reading& reading,
                                                  const std::string& id = "worker-1") const {
    auto transactions = KafkaTransactions::Create(
        Settings(), {.topics = topics_, .transactional_id = topics_.events + id},
        reading.source().member());
    EXPECT_TRUE(transactions.ok()) << transactions.status();
    return *std::move(transactions);
  }

  // What a read_committed reader sees of the changelog: values by key, "-" for a tombstone.
  std::vector<std::string> changelog(Partition partition) const {
    auto changelog = *KafkaChangelog::Create(
        Settings(), {.topic = topics_.changelog, .group = "segmentd", .timeout = kLimit});
    std::vector<std::string> records;
    int64_t read = 0;
    int64_t last = -1;
    const absl::Status status = changelog->read(
        partition,
        [&](std::string_view key, std::optional<std::string_view> value) {
          records.push_back(fmt::format("{}={}", key, value.value_or("-")));
          return absl::OkStatus();
        },
        [&](int64_t offset, int64_t end) {
          read = offset;
          last = end;
        });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_GE(read, last);
    return records;
  }

  static absl::Status Put(Transactions& transactions, Write::Topic topic, std::string_view key,
                          std::optional<std::string_view> value, Partition partition = 0) {
    return transactions.write({.topic = topic,
                               .partition = partition,
                               .key = key,
                               .has_value = value.has_value(),
                               .value = value.value_or("")});
  }

  const KafkaTopics topics_{NewTopicPrefix()};
};

TEST_F(KafkaClient, CreatesTopicsThatPassItsOwnCheck) {
  const auto again = PrepareKafkaTopics(Settings(), topics_, {.enabled = false}, kLimit);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, 2);
}

TEST_F(KafkaClient, RefusesRecordsAheadOfTheClock) {
  Appender appender(topics_.events);
  const int64_t now = absl::ToUnixMillis(absl::Now());
  EXPECT_EQ(appender.append(0, "u", "now", now), RD_KAFKA_RESP_ERR_NO_ERROR);
  EXPECT_EQ(appender.append(0, "u", "old", now - 86'400'000), RD_KAFKA_RESP_ERR_NO_ERROR);
  EXPECT_EQ(appender.append(0, "u", "ahead", now + 3'600'000), RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP);
}

// A record goes with its neighbours; what is wrong with it is not told of them.
TEST_F(KafkaClient, CountsTheNeighboursOfRefusedRecordsWithThem) {
  // Compacted, so that it takes no record without a key.
  auto producer = EventProducer::Connect(Settings(), topics_.definitions, kLimit);
  ASSERT_TRUE(producer.ok()) << producer.status();
  const Time now = WallClock().wall();
  for (int i = 0; i < 1'000; ++i) {
    ASSERT_OK((*producer)->send(i % 10 == 0 ? std::string_view() : "u", "{}", now));
  }
  (*producer)->finish(kLimit);
  EXPECT_EQ((*producer)->sent(), 1'000);
  EXPECT_GE((*producer)->failed(), 100);
  EXPECT_EQ((*producer)->refused(), (*producer)->failed());
  EXPECT_EQ((*producer)->first_error(),
            fmt::format("INVALID_RECORD: {}; the topic's settings or a policy of the broker's "
                        "don't take such a record",
                        rd_kafka_err2str(RD_KAFKA_RESP_ERR_INVALID_RECORD)));
}

TEST(KafkaTopicCheck, TellsAMissingTopicWhenNotAllowedToCreateIt) {
  const KafkaTopics topics(NewTopicPrefix());
  const auto result = PrepareKafkaTopics(Settings(), topics, {.enabled = false}, kLimit);
  ASSERT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Text(result.status())), HasSubstr("--create --topic " + topics.events));
}

TEST(KafkaTopicCheck, TellsEveryWrongTopicAndHowToMendIt) {
  const KafkaTopics topics(NewTopicPrefix());
  CreateTopic(topics.events, 3);
  CreateTopic(topics.changes, 2);
  CreateTopic(topics.dead_letters, 4);
  CreateTopic(topics.changelog, 3, {{"cleanup.policy", "delete"}});
  CreateTopic(topics.definitions, 1, {{"cleanup.policy", "compact,delete"}});
  const auto result = PrepareKafkaTopics(Settings(), topics, {}, kLimit);
  ASSERT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition) << result.status();
  const std::string text(Text(result.status()));
  EXPECT_THAT(text, HasSubstr(topics.changes + " has 2 partitions, but it must have 3"));
  EXPECT_THAT(text, HasSubstr("--alter --topic " + topics.changes + " --partitions 3"));
  EXPECT_THAT(text, HasSubstr(topics.dead_letters + " has 4 partitions, but it must have 3"));
  EXPECT_THAT(text, HasSubstr(topics.dead_letters + " has max.message.bytes="));
  EXPECT_THAT(text,
              HasSubstr(topics.changelog +
                        " has cleanup.policy=delete, but it must have cleanup.policy=compact"));
  EXPECT_THAT(text, HasSubstr("--entity-name " + topics.changelog +
                              " --add-config cleanup.policy=compact"));
  EXPECT_THAT(text, HasSubstr(topics.definitions + " has cleanup.policy=compact,delete"));
}

// What does not fit in would fail its transaction again and again.
TEST(KafkaTopicCheck, RefusesTopicsThatDoNotTakeWhatIsWritten) {
  const KafkaTopics topics(NewTopicPrefix());
  CreateTopic(topics.events, 1, {{"max.message.bytes", "2000"}});
  CreateTopic(topics.changelog, 1, {{"cleanup.policy", "compact"}, {"max.message.bytes", "2000"}});
  CreateTopic(topics.changes, 1, {{"max.message.bytes", "999999"}});
  // Enough for one.
  CreateTopic(topics.dead_letters, 1, {{"max.message.bytes", "70000"}});
  const auto result = PrepareKafkaTopics(Settings(), topics, {}, kLimit);
  ASSERT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition) << result.status();
  const std::string text(Text(result.status()));
  EXPECT_THAT(text, HasSubstr(topics.changelog +
                              " has max.message.bytes=2000, but it must have at least 1048588"));
  EXPECT_THAT(text, HasSubstr("--entity-name " + topics.changelog +
                              " --add-config max.message.bytes=1048588"));
  EXPECT_THAT(text, HasSubstr(topics.changes +
                              " has max.message.bytes=999999, but it must have at least 1000000"));
  EXPECT_THAT(text, HasSubstr("--entity-name " + topics.changes +
                              " --add-config max.message.bytes=1000000"));
  EXPECT_THAT(text, HasSubstr(topics.dead_letters +
                              " has max.message.bytes=70000, but it must have at least 1000000"));
}

// Adding partitions to the others as well would give every user who moved a second state.
TEST(KafkaTopicCheck, RefusesPartitionsAddedToEvents) {
  const KafkaTopics topics(NewTopicPrefix());
  CreateTopic(topics.events, 4);
  for (const std::string& topic : {topics.changes, topics.dead_letters}) CreateTopic(topic, 2);
  CreateTopic(topics.changelog, 2, {{"cleanup.policy", "compact"}});
  const auto result = PrepareKafkaTopics(Settings(), topics, {}, kLimit);
  ASSERT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition) << result.status();
  const std::string text(Text(result.status()));
  EXPECT_THAT(text, HasSubstr(topics.changelog + " has 2 partitions and the events topic 4"));
  EXPECT_THAT(text, HasSubstr("start anew"));
  EXPECT_THAT(text, Not(HasSubstr("--partitions 4")));
}

TEST(KafkaTopicCheck, RefusesCompactedEvents) {
  const KafkaTopics topics(NewTopicPrefix());
  CreateTopic(topics.events, 1, {{"cleanup.policy", "compact"}});
  const auto result = PrepareKafkaTopics(Settings(), topics, {}, kLimit);
  ASSERT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Text(result.status())),
              HasSubstr(topics.events +
                        " has cleanup.policy=compact, but it must have cleanup.policy=delete"));
}

TEST(KafkaTopicCheck, SaysWhichBrokerDoesNotAnswer) {
  const KafkaSettings nobody = *KafkaSettings::Parse("127.0.0.1:1");
  const auto result =
      PrepareKafkaTopics(nobody, KafkaTopics(NewTopicPrefix()), {}, absl::Milliseconds(300));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable) << result.status();
}

// A broker that is restarted, or too slow for its controller, loses its partitions for a while.
class KafkaLeaders : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(rd_kafka_mock_topic_create(cluster_.get(), "events", 2, 1),
              RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  void lead(const std::vector<Partition>& partitions, int32_t broker) {
    for (const Partition partition : partitions) {
      ASSERT_EQ(rd_kafka_mock_partition_set_leader(cluster_.get(), "events", partition, broker),
                RD_KAFKA_RESP_ERR_NO_ERROR);
    }
  }
  KafkaHandle client(KafkaRole role) const {
    const KafkaSettings settings =
        *KafkaSettings::Parse(rd_kafka_mock_cluster_bootstraps(cluster_.get()));
    return *MakeKafkaHandle(role, *MakeKafkaConf(settings, role));
  }

  static constexpr int32_t kBroker = 1;
  static constexpr int32_t kNobody = -1;
  const std::vector<Partition> partitions_ = {0, 1};
  const std::map<Partition, int64_t> nothing_yet_ = {{0, 0}, {1, 0}};

 private:
  const KafkaHandle cluster_handle_ = *MakeKafkaHandle(
      KafkaRole::kWriter, *MakeKafkaConf(*KafkaSettings::Parse("127.0.0.1:1"), KafkaRole::kWriter));
  const KafkaPtr<rd_kafka_mock_cluster_t, rd_kafka_mock_cluster_destroy> cluster_{
      rd_kafka_mock_cluster_new(cluster_handle_.get(), 1)};
};

TEST_F(KafkaLeaders, AreWaitedForToTellOffsets) {
  const KafkaHandle asker = client(KafkaRole::kAsker);
  const auto ask = [&](absl::Duration limit) {
    return KafkaOffsets(asker.get(), "events", partitions_, KafkaOffset::kNext, limit);
  };
  ASSERT_EQ(*ask(kLimit), nothing_yet_);
  for (const std::vector<Partition>& lost : {std::vector{0, 1}, std::vector{1}}) {
    lead(lost, kNobody);
    ASSERT_OK(KafkaPartitionCount(asker.get(), "events", kLimit).status());
    EXPECT_EQ(ask(absl::Milliseconds(300)).status().code(), absl::StatusCode::kUnavailable);
    lead(lost, kBroker);
    const auto offsets = ask(kLimit);
    ASSERT_OK(offsets.status());
    EXPECT_EQ(*offsets, nothing_yet_);
  }
}

TEST_F(KafkaLeaders, AreNotWaitedForByThePartitionsThatHaveOne) {
  const KafkaHandle asker = client(KafkaRole::kAsker);
  std::mutex mutex;
  std::condition_variable changed;
  int answers = 0;
  KafkaEnds ends(asker.get(), {.topic = "events", .answered = [&] {
                                 const std::scoped_lock lock(mutex);
                                 ++answers;
                                 changed.notify_all();
                               }});
  EXPECT_EQ(ends.take(), std::nullopt);
  const auto ask = [&] {
    std::unique_lock lock(mutex);
    const int before = answers;
    ends.ask(partitions_);
    EXPECT_TRUE(changed.wait_for(lock, absl::ToChronoMilliseconds(kLimit),
                                 [&] { return answers > before; }));
    lock.unlock();
    auto answer = ends.take();
    EXPECT_EQ(ends.take(), std::nullopt);
    return answer.value_or(KafkaEnds::Answer());
  };
  const auto ask_until = [&](const KafkaEnds::Answer& expected) {
    const absl::Time deadline = absl::Now() + kLimit;
    KafkaEnds::Answer answer;
    while ((answer = ask()) != expected && absl::Now() < deadline) {
    }
    EXPECT_EQ(answer, expected);
  };
  ask_until(nothing_yet_);
  lead({1}, kNobody);
  ask_until({{0, 0}});
  lead({0}, kNobody);
  ask_until({});
  lead({0, 1}, kBroker);
  ask_until(nothing_yet_);
}

TEST_F(KafkaLeaders, TellOffsetsByTheRoleOfWhoAsks) {
  const KafkaHandle asker = client(KafkaRole::kAsker);
  const KafkaHandle reader = client(KafkaRole::kReader);
  const auto ask = [&](const KafkaHandle& handle, KafkaOffset which) {
    return KafkaOffsets(handle.get(), "events", partitions_, which, kLimit).status().code();
  };
  EXPECT_EQ(ask(asker, KafkaOffset::kFirst), absl::StatusCode::kOk);
  EXPECT_EQ(ask(asker, KafkaOffset::kNext), absl::StatusCode::kOk);
  EXPECT_EQ(ask(asker, KafkaOffset::kStable), absl::StatusCode::kInternal);
  EXPECT_EQ(ask(reader, KafkaOffset::kFirst), absl::StatusCode::kOk);
  EXPECT_EQ(ask(reader, KafkaOffset::kNext), absl::StatusCode::kInternal);
  EXPECT_EQ(ask(reader, KafkaOffset::kStable), absl::StatusCode::kOk);
}

TEST_F(KafkaClient, ReadsRecordsWithKeysHeadersAndTimes) {
  Appender appender(topics_.events);
  const int64_t now = absl::ToUnixMillis(absl::Now());
  ASSERT_EQ(appender.append(0, "u1", "a", now), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(appender.append(0, "", "b", now + 1), RD_KAFKA_RESP_ERR_NO_ERROR);
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.values.size() == 2; }));
  EXPECT_THAT(reading.values, ElementsAre("a", "b"));
  EXPECT_THAT(reading.keys, ElementsAre("u1", ""));
  EXPECT_THAT(reading.offsets, ElementsAre(0, 1));
  EXPECT_THAT(reading.headers, ElementsAre("content-type=text/plain",
                                           "empty=", "content-type=text/plain", "empty="));
  EXPECT_THAT(reading.record_times, ElementsAre(Time::Millis(now), Time::Millis(now + 1)));
  const auto bounds = reading.source().bounds(0);
  ASSERT_TRUE(bounds.ok()) << bounds.status();
  EXPECT_EQ(bounds->first, Offset(0));
  EXPECT_EQ(bounds->second, Offset(2));
  EXPECT_EQ(reading.source().known_end(0), Offset(2));
  EXPECT_EQ(reading.source().known_end(99), std::nullopt);
  EXPECT_THAT(reading.errors, IsEmpty());
}

TEST_F(KafkaClient, DeliversNothingBeforeTheStart) {
  Appender appender(topics_.events);
  ASSERT_EQ(appender.append(0, "u", "a"), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(appender.append(0, "u", "b"), RD_KAFKA_RESP_ERR_NO_ERROR);
  Reading reading(topics_);
  reading.start_given = false;
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  ASSERT_OK(reading.source().start(1, Offset(0)));
  ASSERT_TRUE(reading.end_from_now(1).has_value());
  EXPECT_THAT(reading.values, IsEmpty());
  ASSERT_OK(reading.source().start(0, Offset(1)));
  ASSERT_TRUE(reading.poll_until([&] { return !reading.values.empty(); }));
  EXPECT_THAT(reading.values, ElementsAre("b"));
}

TEST_F(KafkaClient, StartsAgainElsewhere) {
  Appender appender(topics_.events);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(appender.append(0, "u", fmt::format("{}", i)), RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.values.size() == 10; }));
  for (int round = 0; round < 20; ++round) {
    reading.values.clear();
    const int from = (round * 7) % 10;
    ASSERT_OK(reading.source().start(0, Offset(from)));
    // Records of the old position, and a gap, would show here.
    ASSERT_TRUE(
        reading.poll_until([&] { return static_cast<int>(reading.values.size()) >= 10 - from; }));
    for (int i = from; i < 10; ++i) {
      ASSERT_EQ(reading.values[static_cast<size_t>(i - from)], fmt::format("{}", i))
          << "round " << round;
    }
    ASSERT_EQ(static_cast<int>(reading.values.size()), 10 - from);
  }
}

TEST_F(KafkaClient, TellsAPositionThatIsNoLongerHeld) {
  Appender appender(topics_.events);
  ASSERT_EQ(appender.append(0, "u", "a"), RD_KAFKA_RESP_ERR_NO_ERROR);
  Reading reading(topics_);
  reading.start_given = false;
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  ASSERT_OK(reading.source().start(0, Offset(77)));
  ASSERT_TRUE(reading.poll_until([&] { return !reading.errors.empty(); }));
  EXPECT_EQ(reading.errors[0].code(), absl::StatusCode::kOutOfRange) << reading.errors[0];
  EXPECT_THAT(std::string(Text(reading.errors[0])), HasSubstr(topics_.events + ", partition 0"));
  EXPECT_THAT(std::string(Text(reading.errors[0])), HasSubstr("77"));
  // The source goes on.
  ASSERT_OK(reading.source().start(0, Offset(0)));
  ASSERT_TRUE(reading.poll_until([&] { return !reading.values.empty(); }));
}

TEST_F(KafkaClient, ReportsEndsAgainAndAgainWithTheTimeOfAsking) {
  Appender appender(topics_.events);
  ASSERT_EQ(appender.append(0, "u", "a"), RD_KAFKA_RESP_ERR_NO_ERROR);
  Reading reading(topics_);
  const auto first = reading.end_from_now(0);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->position, Offset(1));
  EXPECT_THAT(reading.values, ElementsAre("a"));
  // In silence the end is asked for again.
  const auto second = reading.end_from_now(0);
  ASSERT_TRUE(second.has_value());
  EXPECT_GT(second->asked_at, first->asked_at);
  EXPECT_LE(second->asked_at, reading.clock().wall());

  // An end from after the append knows of the record.
  ASSERT_EQ(appender.append(0, "u", "b"), RD_KAFKA_RESP_ERR_NO_ERROR);
  const auto third = reading.end_from_now(0);
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(third->position, Offset(2));
  EXPECT_THAT(reading.values, ElementsAre("a", "b"));
}

TEST_F(KafkaClient, AnOpenTransactionIsNoEndAndItsMarkerIsCounted) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.end_from_now(0).has_value());
  KafkaTopics into_events = topics_;
  into_events.changes = topics_.events;
  auto tx = *KafkaTransactions::Create(
      Settings(), {.topics = into_events, .transactional_id = topics_.events + "producer"},
      reading.source().member());
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChanges, "u", "a"));
  // The broker holds it, but nobody may read it yet.
  ASSERT_TRUE(reading.poll_until([&] { return reading.source().bounds(0)->second == Offset(1); }));
  const Time now = reading.clock().wall();
  while (reading.clock().wall() < now + Duration::Millis(500)) reading.poll_once();
  for (const Batch::End& end : reading.ends) {
    if (end.partition == 0) {
      EXPECT_LT(end.asked_at, now);
    }
  }
  EXPECT_THAT(reading.values, IsEmpty());
  std::string why;
  ASSERT_EQ(tx->commit({{{0, Offset(0)}}}, &why), CommitResult::kCommitted) << why;
  // The broker answers before it has written the marker.
  ASSERT_TRUE(reading.poll_until([&] { return !reading.values.empty(); }));
  const auto end = reading.end_from_now(0);
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->position, Offset(2));
  EXPECT_THAT(reading.values, ElementsAre("a"));
}

TEST_F(KafkaClient, CommitsRecordsAndOffsetsTogether) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u1", "1"));
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u2", ""));
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u3", std::nullopt));
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u4", "other partition", 1));
  std::string why;
  ASSERT_EQ(tx->commit({{{0, Offset(7)}}}, &why), CommitResult::kCommitted) << why;
  EXPECT_THAT(changelog(0), ElementsAre("u1=1", "u2=", "u3=-"));
  EXPECT_THAT(changelog(1), ElementsAre("u4=other partition"));
  const auto committed = reading.source().committed(0);
  ASSERT_TRUE(committed.ok()) << committed.status();
  EXPECT_EQ(*committed, std::optional(Offset(7)));
  const auto none = reading.source().committed(1);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(*none, std::nullopt);
}

TEST_F(KafkaClient, WritesHeaders) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  ASSERT_OK(tx->begin());
  const std::vector<HeaderView> headers = {{"error", "not_json"}, {"detail", ""}};
  ASSERT_OK(tx->write({.topic = Write::Topic::kDeadLetters,
                       .partition = 1,
                       .has_key = false,
                       .value = "body",
                       .headers = headers}));
  std::string why;
  ASSERT_EQ(tx->commit({{{1, Offset(1)}}}, &why), CommitResult::kCommitted) << why;
  KafkaTopics letters = topics_;
  letters.events = topics_.dead_letters;
  Reading dead(letters);
  ASSERT_TRUE(dead.poll_until([&] { return !dead.values.empty(); }));
  EXPECT_THAT(dead.values, ElementsAre("body"));
  EXPECT_THAT(dead.headers, ElementsAre("error=not_json", "detail="));
}

TEST_F(KafkaClient, ShowsNothingOfAnAbort) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u1", "aborted"));
  tx->abort();
  EXPECT_THAT(changelog(0), IsEmpty());
  ASSERT_OK(tx->renew());
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u1", "committed"));
  std::string why;
  ASSERT_EQ(tx->commit({{{0, Offset(1)}}}, &why), CommitResult::kCommitted) << why;
  EXPECT_THAT(changelog(0), ElementsAre("u1=committed"));
}

TEST_F(KafkaClient, ANewSessionFencesTheOld) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto old = transactions(reading);
  ASSERT_OK(old->begin());
  ASSERT_OK(Put(*old, Write::Topic::kChangelog, "u1", "of the old"));
  auto fresh = transactions(reading);
  std::string why;
  EXPECT_NE(old->commit({{{0, Offset(1)}}}, &why), CommitResult::kCommitted);
  EXPECT_FALSE(why.empty());
  EXPECT_FALSE(old->begin().ok());
  ASSERT_OK(fresh->begin());
  ASSERT_OK(Put(*fresh, Write::Topic::kChangelog, "u1", "of the new"));
  ASSERT_EQ(fresh->commit({{{0, Offset(2)}}}, &why), CommitResult::kCommitted) << why;
  EXPECT_THAT(changelog(0), ElementsAre("u1=of the new"));

  // And the other way round, after which both have ended what was open.
  ASSERT_OK(fresh->begin());
  ASSERT_OK(Put(*fresh, Write::Topic::kChangelog, "u1", "open"));
  ASSERT_OK(old->renew());
  ASSERT_OK(old->begin());
  ASSERT_OK(Put(*old, Write::Topic::kChangelog, "u1", "of the old, renewed"));
  ASSERT_EQ(old->commit({{{0, Offset(3)}}}, &why), CommitResult::kCommitted) << why;
  EXPECT_THAT(changelog(0), ElementsAre("u1=of the new", "u1=of the old, renewed"));
}

TEST_F(KafkaClient, CommitsNothingWithoutOffsets) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u1", "1"));
  std::string why;
  EXPECT_EQ(tx->commit({}, &why), CommitResult::kAborted);
  EXPECT_THAT(why, HasSubstr("offsets"));
  EXPECT_THAT(changelog(0), IsEmpty());
}

TEST_F(KafkaClient, CommitsNothingOfWhoIsNoMember) {
  // Never joined: a broker would take its offsets unchecked.
  auto member = *KafkaGroupMember::Create(
      Settings(),
      {.topic = topics_.events, .group = topics_.events, .instance = "worker-1", .wake = [] {}});
  auto tx = *KafkaTransactions::Create(
      Settings(), {.topics = topics_, .transactional_id = topics_.events}, *member);
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u1", "zombie"));
  std::string why;
  EXPECT_EQ(tx->commit({{{0, Offset(1)}}}, &why), CommitResult::kFenced);
  EXPECT_THAT(why, HasSubstr("is no member any more"));
  EXPECT_THAT(changelog(0), IsEmpty());
}

TEST_F(KafkaClient, ReadsAChangelogOverMarkersToItsEnd) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  std::string why;
  std::vector<std::string> expected;
  for (int i = 0; i < 50; ++i) {
    ASSERT_OK(tx->begin());
    const std::string key = fmt::format("u{}", i);
    ASSERT_OK(Put(*tx, Write::Topic::kChangelog, key, "v"));
    if (i % 3 == 0) {
      tx->abort();
      ASSERT_OK(tx->renew());
    } else {
      ASSERT_EQ(tx->commit({{{0, Offset(i)}}}, &why), CommitResult::kCommitted) << why;
      expected.push_back(key + "=v");
    }
  }
  // The end is the marker of an aborted one, several offsets behind the last record to be seen.
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u", "v"));
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u", "v"));
  tx->abort();
  EXPECT_EQ(changelog(0), expected);
}

TEST_F(KafkaClient, AChangelogWaitsForWhatAnOpenTransactionBecomes) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  // Silent for longer than its timeout of 1 s: the broker aborts it.
  auto silent = *KafkaTransactions::Create(
      Settings(),
      {.topics = topics_, .transactional_id = topics_.events + "a", .timeout = absl::Seconds(1)},
      reading.source().member());
  ASSERT_OK(silent->begin());
  ASSERT_OK(Put(*silent, Write::Topic::kChangelog, "u1", "never"));
  auto other = transactions(reading, "b");
  ASSERT_OK(other->begin());
  ASSERT_OK(Put(*other, Write::Topic::kChangelog, "u1", "seen"));
  std::string why;
  ASSERT_EQ(other->commit({{{0, Offset(1)}}}, &why), CommitResult::kCommitted) << why;
  // The open one may stand before the committed one, which a reader then sees only when the open
  // one has ended.
  EXPECT_THAT(changelog(0), ElementsAre("u1=seen"));
}

TEST_F(KafkaClient, ATransactionThatOutlivesItsTimeoutIsNoLastingError) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = *KafkaTransactions::Create(
      Settings(),
      {.topics = topics_, .transactional_id = topics_.events + "a", .timeout = absl::Seconds(1)},
      reading.source().member());
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u1", "late"));
  // Nothing but the broker's clock ends it: reading to its end waits for that.
  auto other = transactions(reading, "b");
  ASSERT_OK(other->begin());
  ASSERT_OK(Put(*other, Write::Topic::kChangelog, "u2", "x"));
  std::string why;
  ASSERT_EQ(other->commit({{{0, Offset(1)}}}, &why), CommitResult::kCommitted) << why;
  EXPECT_THAT(changelog(0), ElementsAre("u2=x"));
  const CommitResult result = tx->commit({{{0, Offset(2)}}}, &why);
  if (result == CommitResult::kCommitted) {
    // The record had not been sent before the wait: a commit then is a whole one.
    EXPECT_THAT(changelog(0), ElementsAre("u2=x", "u1=late"));
    return;
  }
  EXPECT_NE(result, CommitResult::kFenced) << why;
  ASSERT_OK(tx->renew());
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u1", "again"));
  ASSERT_EQ(tx->commit({{{0, Offset(2)}}}, &why), CommitResult::kCommitted) << why;
  EXPECT_THAT(changelog(0), ElementsAre("u2=x", "u1=again"));
}

TEST_F(KafkaClient, PartitionsMoveToASecondMemberAndBack) {
  Appender appender(topics_.events);
  ASSERT_EQ(appender.append(0, "u", "0"), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(appender.append(1, "u", "1"), RD_KAFKA_RESP_ERR_NO_ERROR);
  Reading first(topics_, "worker-1");
  ASSERT_TRUE(first.poll_until([&] { return first.given.size() == 2; }));
  auto tx = transactions(first, "worker-1");
  {
    Reading second(topics_, "worker-2");
    ASSERT_TRUE(first.poll_until([&] {
      second.poll_once(absl::Milliseconds(10));
      return second.given.size() == 1 && first.given.size() == 1;
    }));
    EXPECT_EQ(first.revoked, second.given);
    EXPECT_THAT(first.lost, IsEmpty());
    ASSERT_TRUE(second.poll_until([&] { return !second.values.empty(); }));
    // The first is a member still, in a newer generation.
    ASSERT_OK(tx->begin());
    ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u", "1", *first.given.begin()));
    std::string why;
    ASSERT_EQ(tx->commit({{{*first.given.begin(), Offset(1)}}}, &why), CommitResult::kCommitted)
        << why;
  }
  // The second is silent now: after its session its partition is the first's again.
  ASSERT_TRUE(first.poll_until([&] { return first.given.size() == 2; }));
  EXPECT_THAT(first.errors, IsEmpty());
}

TEST_F(KafkaClient, OfTwoProcessesWithTheSameNameOneIsLeft) {
  Reading first(topics_, "worker-1");
  ASSERT_TRUE(first.poll_until([&] { return first.given.size() == 2; }));
  auto tx = transactions(first, "worker-1");
  Reading second(topics_, "worker-1");
  ASSERT_TRUE(second.poll_until([&] { return second.given.size() == 2; }));
  // It hears of it at its next heartbeat; until then the broker refuses its offsets.
  ASSERT_OK(tx->begin());
  ASSERT_OK(Put(*tx, Write::Topic::kChangelog, "u", "of the first"));
  std::string why;
  EXPECT_NE(tx->commit({{{0, Offset(1)}}}, &why), CommitResult::kCommitted);
  EXPECT_THAT(changelog(0), IsEmpty());
  // Each joins again some times, then one gives up.
  ASSERT_TRUE(first.poll_until([&] {
    second.poll_once(absl::Milliseconds(10));
    return !first.errors.empty() || !second.errors.empty();
  }));
  Reading& ended = first.errors.empty() ? second : first;
  Reading& left = first.errors.empty() ? first : second;
  EXPECT_EQ(ended.errors[0].code(), absl::StatusCode::kAborted) << ended.errors[0];
  EXPECT_THAT(std::string(Text(ended.errors[0])), HasSubstr("same instance name"));
  ASSERT_TRUE(left.poll_until([&] { return left.given.size() == 2; }));
  EXPECT_THAT(left.errors, IsEmpty());
}

TEST(KafkaOutage, StopsTheEndsAndThenAllGoesOn) {
  Broker broker;
  const KafkaTopics topics(NewTopicPrefix());
  const KafkaSettings settings = Settings(broker);
  ASSERT_OK(PrepareKafkaTopics(settings, topics, {.partitions = 1}, kLimit).status());
  Reading reading(topics, "worker-1", broker);
  ASSERT_TRUE(reading.end_from_now(0).has_value());
  auto tx = *KafkaTransactions::Create(
      settings, {.topics = topics, .transactional_id = topics.events, .timeout = absl::Seconds(2)},
      reading.source().member());

  ASSERT_OK(tx->begin());
  broker.kill();
  ASSERT_OK(KafkaPut(*tx, "lost"));
  const Time gone = reading.clock().wall();
  std::string why;
  EXPECT_NE(tx->commit({{{0, Offset(1)}}}, &why), CommitResult::kCommitted);
  EXPECT_FALSE(why.empty());
  // A clock that went on now would fire deadlines before records that are only held up.
  while (reading.clock().wall() < gone + Duration::Seconds(3)) reading.poll_once();
  for (const Batch::End& end : reading.ends) EXPECT_LT(end.asked_at, gone);
  EXPECT_EQ(tx->renew().code(), absl::StatusCode::kUnavailable);

  broker.start();
  const auto end = reading.end_from_now(0);
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->position, Offset(0));
  EXPECT_THAT(reading.errors, IsEmpty());
  ASSERT_TRUE(reading.poll_until([&] { return tx->renew().ok(); }));
  // The session may have run out in the outage: then the partition comes back first.
  ASSERT_TRUE(reading.poll_until([&] { return reading.source().member().metadata().ok(); }));
  ASSERT_OK(tx->begin());
  ASSERT_OK(KafkaPut(*tx, "kept"));
  ASSERT_EQ(tx->commit({{{0, Offset(1)}}}, &why), CommitResult::kCommitted) << why;
  auto changelog =
      *KafkaChangelog::Create(settings, {.topic = topics.changelog, .group = "segmentd"});
  std::vector<std::string> keys;
  ASSERT_OK(changelog->read(
      0,
      [&](std::string_view key, std::optional<std::string_view>) {
        keys.emplace_back(key);
        return absl::OkStatus();
      },
      [](int64_t, int64_t) {}));
  EXPECT_THAT(keys, ElementsAre("kept"));
}

TEST(KafkaOutage, IsToldFromItsBeginningToItsEnd) {
  Broker broker;
  const auto pulse = KafkaPulse::Create(
      Settings(broker), {.every = absl::Milliseconds(100), .limit = absl::Milliseconds(500)});
  ASSERT_OK(pulse.status());
  const auto await = [&](bool silent) {
    const absl::Time until = absl::Now() + kLimit;
    while ((*pulse)->silent_since().has_value() != silent) {
      if (absl::Now() > until) return false;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return true;
  };
  ASSERT_TRUE(await(false));
  const absl::Time begun = absl::Now();
  broker.kill();
  ASSERT_TRUE(await(true));
  const std::optional<absl::Time> since = (*pulse)->silent_since();
  ASSERT_TRUE(since.has_value());
  // A question may have been under way.
  EXPECT_GE(*since, begun - absl::Seconds(1));
  EXPECT_LE(*since, absl::Now());
  broker.start();
  EXPECT_TRUE(await(false));
}

segments::v1::Segment LiveSegment(std::string_view id, int64_t version = 1) {
  segments::v1::Segment segment = *SegmentFromJson(fmt::format(
      R"({{"id":"{}","name":"Segment {}","live":{{"actions":{{"any_of":[{{"event":"Charged"}}]}}}}}})",
      id, id));
  segment.set_version(version);
  segment.set_etag(fmt::format("etag-{}", version));
  return segment;
}

class KafkaDefinitions : public KafkaClient {
 protected:
  std::unique_ptr<KafkaDefinitionLog> log() {
    auto log = KafkaDefinitionLog::Create(
        Settings(),
        {.topic = topics_.definitions,
         .group = "segmentd",
         .changed =
             [this](std::shared_ptr<const KafkaDefinitionLog::Segments> all, Offset end) {
               const std::scoped_lock lock(mutex_);
               told_ = std::move(all);
               told_end_ = end;
             }},
        board_);
    EXPECT_TRUE(log.ok()) << log.status();
    EXPECT_TRUE((*log)->wait_ready(absl::Now() + kLimit));
    return *std::move(log);
  }
  static std::vector<std::string> Ids(const KafkaDefinitionLog& log) {
    std::vector<std::string> ids;
    for (const auto& segment : *log.All()) ids.push_back(segment.id());
    return ids;
  }
  // Waits until the log has read something more.
  static bool AwaitGeneration(const KafkaDefinitionLog& log, uint64_t generation) {
    const absl::Time deadline = absl::Now() + kLimit;
    while (log.generation() < generation && absl::Now() < deadline) std::this_thread::yield();
    return log.generation() >= generation;
  }

  TaskBoard board_;
  std::mutex mutex_;
  std::shared_ptr<const KafkaDefinitionLog::Segments> told_;
  Offset told_end_;
};

TEST_F(KafkaDefinitions, ShowsWhatWasAppendedAndForgetsWhatWasDeleted) {
  auto definitions = log();
  EXPECT_THAT(Ids(*definitions), IsEmpty());
  const absl::Time deadline = absl::Now() + kLimit;
  ASSERT_OK(definitions->Append(
      {{"b", LiveSegment("b")}, {"a", LiveSegment("a")}, {"c", LiveSegment("c")}}, deadline));
  EXPECT_THAT(Ids(*definitions), ElementsAre("a", "b", "c"));
  const uint64_t generation = definitions->generation();
  ASSERT_OK(definitions->Append({{"b", std::nullopt}, {"a", LiveSegment("a", 2)}}, deadline));
  EXPECT_GT(definitions->generation(), generation);
  EXPECT_THAT(Ids(*definitions), ElementsAre("a", "c"));
  EXPECT_EQ(definitions->All()->front().version(), 2);
  EXPECT_EQ(definitions->All()->front().etag(), "etag-2");
  {
    const std::scoped_lock lock(mutex_);
    ASSERT_EQ(told_->size(), 2u);
    EXPECT_EQ(told_end_, Offset(5));
    EXPECT_EQ(definitions->end().value_or(Offset(-1)), Offset(5));
  }
  // A snapshot stays as it was.
  const auto snapshot = definitions->All();
  ASSERT_OK(definitions->Append({{"c", std::nullopt}}, deadline));
  EXPECT_EQ(snapshot->size(), 2u);

  // Another instance, and this one after a restart, read the same.
  auto again = log();
  EXPECT_THAT(Ids(*again), ElementsAre("a"));
  EXPECT_EQ(again->All()->front().live().actions().any_of(0).event(), "Charged");
  // What one writes, the other reads.
  ASSERT_OK(definitions->Append({{"d", LiveSegment("d")}}, deadline));
  ASSERT_TRUE(AwaitGeneration(*again, 2));
  EXPECT_THAT(Ids(*again), ElementsAre("a", "d"));
}

TEST_F(KafkaDefinitions, KeepsWhatItCannotRead) {
  auto definitions = log();
  // A partition that runs what can be run.
  DefinitionStatuses statuses;
  statuses["last"].version = 1;
  statuses["good"].version = 2;
  board_.post(0, {.state = TaskState::kRunning,
                  .definitions = std::make_shared<const DefinitionStatuses>(statuses)});
  ASSERT_OK(definitions->Append({{"good", LiveSegment("good")}}, absl::Now() + kLimit));
  Appender appender(topics_.definitions);
  ASSERT_EQ(appender.append(0, "broken", "{nonsense"), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(appender.append(0, "other", SegmentToJson(LiveSegment("good"))),
            RD_KAFKA_RESP_ERR_NO_ERROR);
  segments::v1::Segment empty = LiveSegment("empty");
  empty.mutable_live()->clear_actions();
  ASSERT_EQ(appender.append(0, "empty", SegmentToJson(empty)), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(appender.append(0, "good", "[]"), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_OK(definitions->Append({{"last", LiveSegment("last")}}, absl::Now() + kLimit));
  EXPECT_EQ(definitions->invalid_records(), 4);
  ASSERT_THAT(Ids(*definitions), ElementsAre("broken", "empty", "good", "last", "other"));
  const auto all = definitions->All();
  for (size_t i : {0, 1, 2, 4}) {
    EXPECT_EQ((*all)[i].status(), segments::v1::SEGMENT_STATUS_INVALID) << (*all)[i].id();
    EXPECT_FALSE((*all)[i].status_detail().empty()) << (*all)[i].id();
  }
  EXPECT_EQ((*all)[3].status(), segments::v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_THAT((*all)[4].status_detail(), HasSubstr("good"));
  // What was readable before goes on.
  EXPECT_TRUE((*all)[2].has_live());
  // Each has something to send back with the update that mends it, the same wherever it is read.
  std::set<std::string> etags;
  auto again = log();
  for (size_t i : {0, 1, 2, 4}) {
    EXPECT_EQ((*again->All())[i].etag(), (*all)[i].etag()) << (*all)[i].id();
    EXPECT_TRUE(etags.insert((*all)[i].etag()).second) << (*all)[i].id();
  }
  EXPECT_EQ(etags.count(""), 0u);
  // A good record mends it.
  ASSERT_OK(definitions->Append({{"good", LiveSegment("good", 2)}}, absl::Now() + kLimit));
  EXPECT_EQ((*definitions->All())[2].status(), segments::v1::SEGMENT_STATUS_ACTIVE);
}

// An update of another version than all before it, wherever those run, and not of another segment.
TEST_F(KafkaDefinitions, ShowsMoreThanAnyVersionOfWhatItCannotRead) {
  Appender appender(topics_.definitions);
  segments::v1::Segment stored = LiveSegment("s");
  stored.mutable_create_time()->set_seconds(5);
  for (int64_t version = 1; version <= 3; ++version) {
    stored.set_version(version);
    stored.set_paused(version == 3);
    ASSERT_EQ(appender.append(0, "s", SegmentToJson(stored)), RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  stored.mutable_live()->clear_actions();
  stored.set_version(1);
  stored.set_paused(false);
  stored.mutable_create_time()->set_seconds(9);
  // Followed while it is written, its past is known; read afterwards, it is not.
  auto before = log();
  ASSERT_EQ(appender.append(0, "s", SegmentToJson(stored)), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_TRUE(AwaitGeneration(*before, 2));
  EXPECT_EQ(before->All()->front().create_time().seconds(), 5);
  EXPECT_TRUE(before->All()->front().paused());
  auto after = log();
  EXPECT_FALSE(after->All()->front().has_create_time());
  EXPECT_FALSE(after->All()->front().paused());
  for (const auto* definitions : {before.get(), after.get()}) {
    EXPECT_EQ(definitions->All()->front().version(), 4) << "no task runs here";
  }
  DefinitionStatuses statuses;
  statuses["s"].version = 11;
  statuses["s"].paused = true;
  board_.post(0, {.state = TaskState::kRunning,
                  .definitions = std::make_shared<const DefinitionStatuses>(statuses)});
  after = log();
  EXPECT_EQ(after->All()->front().version(), 11);
  EXPECT_TRUE(after->All()->front().paused());
  // A version that a state could not keep is not believed either.
  stored = LiveSegment("s", int64_t{1} << 31);
  ASSERT_EQ(appender.append(0, "s", SegmentToJson(stored)), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_TRUE(AwaitGeneration(*after, 2));
  EXPECT_THAT(after->All()->front().status_detail(), HasSubstr("version: 1 to 2147483647"));
  EXPECT_EQ(after->All()->front().version(), 11);
}

TEST_F(KafkaDefinitions, TellsNothingThatIsNoText) {
  auto definitions = log();
  Appender appender(topics_.definitions);
  ASSERT_EQ(appender.append(0, "\xff\xfe", "{}"), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(appender.append(0, "", "{}"), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(appender.append(0, "a", "{\"id\": \"a\", \"\xff\": \"\xff\"}"),
            RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_EQ(appender.append(0, "b", "{\"id\": \"\\ud800\"}"), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_OK(definitions->Append({{"last", LiveSegment("last")}}, absl::Now() + kLimit));
  EXPECT_EQ(definitions->invalid_records(), 4);
  // No request can name the others, and no answer could hold them.
  EXPECT_THAT(Ids(*definitions), ElementsAre("a", "b", "last"));
  for (const auto& segment : *definitions->All()) {
    EXPECT_TRUE(segments::v1::Segment().ParseFromString(segment.SerializeAsString()))
        << segment.id();
  }
}

TEST_F(KafkaDefinitions, TellsHowFarTheTasksAre) {
  auto definitions = log();
  ASSERT_OK(definitions->Append({{"a", LiveSegment("a")}}, absl::Now() + kLimit));
  // Where nothing runs, nothing was applied.
  EXPECT_EQ(definitions->All()->front().status(), segments::v1::SEGMENT_STATUS_PENDING);
  EXPECT_FALSE(definitions->WaitApplied("a", 1, absl::Now()));
  board_.post(0, {.state = TaskState::kRunning});
  EXPECT_EQ(definitions->All()->front().status(), segments::v1::SEGMENT_STATUS_PENDING);
  EXPECT_FALSE(definitions->WaitApplied("a", 1, absl::Now()));
  DefinitionStatuses statuses;
  statuses["a"].version = 1;
  board_.post(0, {.state = TaskState::kRunning,
                  .definitions = std::make_shared<const DefinitionStatuses>(statuses)});
  EXPECT_TRUE(definitions->WaitApplied("a", 1, absl::Now() + kLimit));
  EXPECT_EQ(definitions->All()->front().status(), segments::v1::SEGMENT_STATUS_ACTIVE);
}

// A writer with transactions, as a mirror may be, leaves marks behind its records.
TEST_F(KafkaDefinitions, TellsTheEndThatMarksOfTransactionsMoved) {
  auto definitions = log();
  const KafkaHandle writer = *MakeKafkaHandle(
      KafkaRole::kWriter,
      *MakeKafkaConf(Settings(), KafkaRole::kWriter, {{"transactional.id", topics_.definitions}}));
  const int limit = KafkaTimeoutMs(kLimit);
  ASSERT_EQ(KafkaError(rd_kafka_init_transactions(writer.get(), limit)), nullptr);
  const std::string json = SegmentToJson(LiveSegment("a"));
  for (const bool committed : {true, false}) {
    ASSERT_EQ(KafkaError(rd_kafka_begin_transaction(writer.get())), nullptr);
    ASSERT_EQ(rd_kafka_producev(writer.get(), RD_KAFKA_V_TOPIC(topics_.definitions.c_str()),
                                RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY("a", 1),
                                RD_KAFKA_V_VALUE(const_cast<char*>(json.data()), json.size()),
                                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END),
              RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_flush(writer.get(), limit);
    ASSERT_EQ(KafkaError(committed ? rd_kafka_commit_transaction(writer.get(), limit)
                                   : rd_kafka_abort_transaction(writer.get(), limit)),
              nullptr);
  }
  const absl::Time deadline = absl::Now() + kLimit;
  const auto told = [&] {
    const std::scoped_lock lock(mutex_);
    return told_end_;
  };
  while (told() < Offset(4) && absl::Now() < deadline) std::this_thread::yield();
  EXPECT_EQ(told(), Offset(4));
  EXPECT_THAT(Ids(*definitions), ElementsAre("a"));
  EXPECT_EQ(definitions->generation(), 2u) << "nothing else has changed";
}

TEST_F(KafkaDefinitions, WritesNothingBehindALoss) {
  auto definitions = log();
  ASSERT_OK(definitions->Append({{"a", LiveSegment("a")}}, absl::Now() + kLimit));
  board_.post(0, {.state = TaskState::kRunning, .definitions_end = Offset(1)});
  ASSERT_OK(definitions->Append({{"b", LiveSegment("b")}}, absl::Now() + kLimit));
  // As of a topic that was deleted with three records and made again.
  board_.post(0, {.state = TaskState::kFailed, .definitions_end = Offset(3)});
  for (const std::optional<segments::v1::Segment>& written :
       {std::optional(LiveSegment("c")), std::optional<segments::v1::Segment>()}) {
    const absl::Status status = definitions->Append({{"a", written}}, absl::Now() + kLimit);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("nothing was stored"), HasSubstr("ends at offset 2"),
                      HasSubstr("up to 3 were run"), HasSubstr("from a copy"),
                      HasSubstr("--accept-lost-definitions")));
  }
  EXPECT_EQ(definitions->end().value_or(Offset(-1)), Offset(2));
  // After a start, while nobody knows.
  board_.post(0, {.state = TaskState::kRestoring});
  const absl::Status early = definitions->Append({{"c", LiveSegment("c")}}, absl::Now() + kLimit);
  EXPECT_EQ(early.code(), absl::StatusCode::kUnavailable) << early;
  EXPECT_EQ(definitions->end().value_or(Offset(-1)), Offset(2));
  // Accepted, or restored.
  board_.post(0, {.state = TaskState::kRunning, .definitions_end = Offset(2)});
  ASSERT_OK(definitions->Append({{"c", LiveSegment("c")}}, absl::Now() + kLimit));
}

TEST_F(KafkaDefinitions, GivesUpAtTheDeadline) {
  auto definitions = log();
  const absl::Status status =
      definitions->Append({{"a", LiveSegment("a")}}, absl::Now() - absl::Seconds(1));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  // And writes again when there is time.
  ASSERT_OK(definitions->Append({{"b", LiveSegment("b")}}, absl::Now() + kLimit));
  EXPECT_THAT(Ids(*definitions), ::testing::Contains("b"));
}

class KafkaFeed : public KafkaClient {
 protected:
  void SetUp() override {
    KafkaClient::SetUp();
    segment_ = LiveSegment("s");
    encoders_.emplace_back(ChangeFormat::kJson, topics_.events, 0);
    encoders_.emplace_back(ChangeFormat::kProtobuf, topics_.events, 1);
  }
  // In one transaction, with a marker behind them.
  void add(Transactions& tx, Partition partition, int count, bool committed = true) {
    ASSERT_OK(tx.begin());
    const int64_t before = next_[static_cast<size_t>(partition)];
    write(tx, partition, count);
    if (!committed) {
      next_[static_cast<size_t>(partition)] = before;
      tx.abort();
      // Where the broker had not heard of the transaction yet, the abort may have ended the
      // session.
      ASSERT_OK(tx.renew());
      return;
    }
    commit(tx, partition);
  }
  void write(Transactions& tx, Partition partition, int count) {
    for (int i = 0; i < count; ++i) {
      std::string value;
      const Change change = {.action = segments::v1::ADD,
                             .slot = 0,
                             .at = Time::Millis(1),
                             .reason = segments::v1::TRIGGER,
                             .cause_at = Time::Millis(1)};
      encoders_[static_cast<size_t>(partition)].append(
          change, segment_, "u", next_[static_cast<size_t>(partition)]++, &value);
      ASSERT_OK(tx.write(
          {.topic = Write::Topic::kChanges, .partition = partition, .key = "u", .value = value}));
    }
  }
  static void commit(Transactions& tx, Partition partition) {
    std::string why;
    ASSERT_EQ(tx.commit({{{partition, Offset(1)}}}, &why), CommitResult::kCommitted) << why;
  }
  KafkaChangeFeed feed() const {
    return KafkaChangeFeed(Settings(), {.topic = topics_.changes, .group = "segmentd"});
  }
  // The numbers of the first changes of a partition from one on.
  std::vector<int64_t> read(Partition partition, int64_t from, size_t count) const {
    std::vector<int64_t> numbers;
    const absl::Time deadline = absl::Now() + kLimit;
    auto f = KafkaChangeFeed(Settings(), {.topic = topics_.changes, .group = "segmentd"});
    const absl::Status status = f.Follow(
        {{partition, from}},
        [&](const segments::v1::MembershipChange& change) {
          const auto id = ParseChangeId(change.change_id());
          EXPECT_TRUE(id.ok());
          if (id->partition == partition) numbers.push_back(id->number);
          return numbers.size() < count;
        },
        [&] { return absl::Now() < deadline; });
    EXPECT_TRUE(status.ok()) << status;
    return numbers;
  }

  segments::v1::Segment segment_;
  std::vector<ChangeEncoder> encoders_;
  std::array<int64_t, 2> next_{};
};

TEST_F(KafkaFeed, FindsAChangeByItsNumber) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  for (const Partition partition : {0, 1}) {
    for (int i = 0; i < 40; ++i) add(*tx, partition, 1 + i % 3, i % 5 != 4);
    add(*tx, partition, 20'000);
    add(*tx, partition, 100, false);
    for (int i = 0; i < 40; ++i) add(*tx, partition, 1);
  }
  const auto run = [](int64_t first) { return std::vector<int64_t>{first, first + 1, first + 2}; };
  const int64_t last = next_[0];
  for (const int64_t number :
       {int64_t{0}, int64_t{1}, int64_t{30}, int64_t{10'000}, last - 30, last - 3}) {
    EXPECT_EQ(read(0, number, 3), run(number));
    EXPECT_EQ(read(1, number, 3), run(number));
  }
}

TEST_F(KafkaFeed, FollowsFromTheNextChange) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  add(*tx, 0, 5);
  add(*tx, 1, 5);
  auto changes = feed();
  std::vector<std::string> seen;
  int round = 0;
  const absl::Time deadline = absl::Now() + kLimit;
  const absl::Status status = changes.Follow(
      {{1, 5}},
      [&](const segments::v1::MembershipChange& change) {
        seen.push_back(change.change_id());
        return seen.size() < 4;
      },
      [&] {
        // It waits: now there is something to see.
        if (round == 0) add(*tx, 0, 1, false);
        if (round < 2) add(*tx, round, 2);
        ++round;
        return absl::Now() < deadline;
      });
  ASSERT_OK(status);
  std::sort(seen.begin(), seen.end());
  EXPECT_THAT(seen, ElementsAre(topics_.events + "-0:5", topics_.events + "-0:6",
                                topics_.events + "-1:5", topics_.events + "-1:6"));
}

TEST_F(KafkaFeed, TellsThatANumberIsNoLongerHeld) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  next_[0] = 1000;
  add(*tx, 0, 5);
  auto changes = feed();
  const auto follow = [&](Partition partition, int64_t number) {
    const absl::Time deadline = absl::Now() + kLimit;
    return changes.Follow(
        {{partition, number}}, [](const segments::v1::MembershipChange&) { return false; },
        [&] { return absl::Now() < deadline; });
  };
  const absl::Status status = follow(0, 999);
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_THAT(std::string(Text(status)), HasSubstr("change 999 of partition 0"));
  EXPECT_EQ(follow(7, 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_OK(follow(0, 1000));
}

TEST_F(KafkaFeed, TellsThatANumberIsBeyondTheNext) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  add(*tx, 0, 5);
  // Farther from the end than is looked at first.
  add(*tx, 0, 3000, false);
  auto changes = feed();
  const auto follow = [&](Partition partition, int64_t number) {
    int idle = 0;
    return changes.Follow(
        {{partition, number}}, [](const segments::v1::MembershipChange&) { return false; },
        [&] { return ++idle < 100; });
  };
  for (const int64_t number : {int64_t{6}, int64_t{1'000'000}, INT64_MAX}) {
    const absl::Status status = follow(0, number);
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
    EXPECT_THAT(std::string(Text(status)), HasSubstr("the next is 5"));
  }
  // Behind the records of an aborted transaction numbers are smaller than offsets.
  add(*tx, 1, 3, false);
  add(*tx, 1, 5);
  const absl::Status status = follow(1, INT64_MAX);
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_THAT(std::string(Text(status)), HasSubstr("the next is 5"));
}

// Numbers go on where the tasks stand, also in a topic that was made anew.
TEST_F(KafkaFeed, WaitsForTheNextNumberInAnEmptyTopic) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  next_[0] = 500;
  auto changes = feed();
  std::string seen;
  int idle = 0;
  const absl::Status status = changes.Follow(
      {{0, 500}},
      [&](const segments::v1::MembershipChange& change) {
        seen = change.change_id();
        return false;
      },
      [&] {
        if (++idle == 5) add(*tx, 0, 1);
        return idle < 200;
      });
  EXPECT_OK(status);
  EXPECT_TRUE(seen.ends_with("-0:500")) << seen;
}

TEST_F(KafkaFeed, WaitsForANumberThatAnOpenTransactionMayBring) {
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  add(*tx, 0, 5);
  ASSERT_OK(tx->begin());
  write(*tx, 0, 5);
  KafkaHandle asker =
      *MakeKafkaHandle(KafkaRole::kAsker, *MakeKafkaConf(Settings(), KafkaRole::kAsker));
  const std::vector<Partition> partitions = {0};
  const absl::Time deadline = absl::Now() + kLimit;
  // Six with the marker of the first transaction.
  for (int64_t end = 0; end < 11;) {
    ASSERT_LT(absl::Now(), deadline);
    const auto offsets =
        KafkaOffsets(asker.get(), topics_.changes, partitions, KafkaOffset::kNext, kLimit);
    ASSERT_OK(offsets.status());
    end = offsets->at(0);
  }
  auto changes = feed();
  int idle = 0;
  std::optional<std::string> seen;
  const absl::Status status = changes.Follow(
      {{0, 10}},
      [&](const segments::v1::MembershipChange& change) {
        seen = change.change_id();
        return false;
      },
      [&] {
        if (++idle == 10) {
          commit(*tx, 0);
          add(*tx, 0, 1);
        }
        return absl::Now() < deadline;
      });
  ASSERT_OK(status);
  EXPECT_EQ(seen, topics_.events + "-0:10");
}

TEST_F(KafkaFeed, PassesOverWhatIsNoChange) {
  Appender appender(topics_.changes);
  ASSERT_EQ(appender.append(0, "u", "junk"), RD_KAFKA_RESP_ERR_NO_ERROR);
  Reading reading(topics_);
  ASSERT_TRUE(reading.poll_until([&] { return reading.given.size() == 2; }));
  auto tx = transactions(reading);
  add(*tx, 0, 2);
  EXPECT_THAT(read(0, 1, 1), ElementsAre(1));
}

}  // namespace
}  // namespace segmentd
