// segmentd and segctl as their users run them, against a real broker: what comes out is compared
// with the specification's F, computed by the oracle of tests/property.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "proto/segments/v1/change.pb.h"
#include "proto/segments/v1/definition.pb.h"
#include "segment/definition_check.h"
#include "segment/definition_text.h"
#include "segment/timestamp.h"
#include "stream/change_codec.h"
#include "stream/decoder.h"
#include "stream/kafka_topics.h"
#include "stream/partitioner.h"
#include "tests/kafka/broker.h"
#include "tests/kafka/server_process.h"
#include "tests/kafka/topic_reader.h"
#include "tests/kafka/topic_writer.h"
#include "tests/property/oracle.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kLimit = absl::Seconds(30);
constexpr int32_t kPartitions = 4;
// Much longer than an event takes to its topic here, however busy the machine.
constexpr Duration kGrace = Duration::Seconds(3);

// Every kind of a live segment. The windows of the first are a fit for visits of days; those of the
// last two for events that come in while the test looks on.
constexpr char kSegments[] = R"(
id: downloads
name: Downloads
live:
  actions:
    any_of: [ { event: File Downloaded }, { event: Page Viewed, where: [ { property: url, ends_with: .pdf } ] } ]
  exit: { after: 1h30m }
---
id: readers-only
name: Read, no download
live:
  inaction:
    trigger: { event: Page Viewed, where: [ { property: url, contains: / } ] }
    does_not_do: [ { event: File Downloaded } ]
    within: 10m
  exit: { after: 2h }
---
id: readers-for-good
name: Read, and have not downloaded since
live:
  inaction:
    trigger: { event: Page Viewed, where: [ { property: url, contains: /blog/ } ] }
    does_not_do: [ { event: File Downloaded } ]
    within: 45s
    restart: true
---
id: dead-ends
name: Did not come back to a page
live:
  inaction:
    trigger: { event: Page Viewed, where: [ { property: referrer, exists: true } ] }
    does_not_do: [ { event: Page Viewed } ]
    within: 5m
    match: url
  exit: { after: 20m }
---
id: articles
name: Reads articles
live:
  page_visit: { url: { matches: "/(articles|projects)/" }, repeat: true }
  exit: { after: 25m }
---
id: searched
name: Came from a search
live:
  referrer: { url: { contains: google } }
  exit: { after: 1h }
---
id: long-session
name: Three pages in a session
live:
  page_count: { at_least: 3, distinct_urls: true, per: session }
  exit: { after: 45m }
---
id: busy
name: Four pages in two hours
live:
  page_count: { at_least: 4, within: 2h }
  exit: { on: [ { event: File Downloaded } ] }
---
id: ticked
name: Ticked
live:
  actions: { any_of: [ { event: Tick } ], repeat: true }
  exit: { after: 1s }
---
id: no-tock
name: Ticked, no tock
live:
  inaction: { trigger: { event: Tick }, does_not_do: [ { event: Tock } ], within: 1s }
  exit: { after: 1s }
)";

Time Now() {
  return Time::Millis(absl::ToUnixMillis(absl::Now()));
}

// Whether it came true in time.
bool Eventually(const std::function<bool()>& condition, absl::Duration limit = kLimit) {
  const absl::Time until = absl::Now() + limit;
  while (!condition()) {
    if (absl::Now() > until) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return true;
}

std::vector<pb::Segment> Segments(std::string_view yaml) {
  const auto documents = ReadSegmentDocuments(yaml);
  EXPECT_TRUE(documents.ok()) << documents.status();
  std::vector<pb::Segment> segments;
  for (const SegmentDocument& document : *documents) {
    EXPECT_TRUE(document.violations.empty()) << document.segment.id();
    for (const Violation& violation : CheckSegment(document.segment)) {
      ADD_FAILURE() << document.segment.id() << ": " << violation.path << ": " << violation.message;
    }
    segments.push_back(document.segment);
    segments.back().set_version(1);
  }
  return segments;
}

std::string FileWith(const std::string& name, const std::string& text) {
  std::string path = testing::TempDir() + "end_to_end_test_" + name;
  std::ofstream(path) << text;
  return path;
}

std::string EventJson(const std::string& user, const std::string& event, Time time,
                      const std::string& id) {
  return fmt::format(
      R"({{"type":"track","event":"{}","userId":"{}","messageId":"{}","timestamp":"{}"}})", event,
      user, id, FormatTimestamp(time));
}

NewRecord RecordOf(const std::string& user, std::string body, Time time) {
  return {.partition = PartitionOf(user, kPartitions),
          .key = user,
          .value = std::move(body),
          .record_time = time};
}

NewRecord EventRecord(const std::string& user, const std::string& event, Time time,
                      const std::string& id) {
  return RecordOf(user, EventJson(user, event, time, id), time);
}

// -- The changes of a topic -----------------------------------------------------------------------

class ChangeReader {
 public:
  explicit ChangeReader(const KafkaTopics& topics)
      : events_(topics.events), reader_(Broker::Get().address(), topics.changes) {}

  // Takes what was committed since the last time; how many there are.
  size_t look() {
    for (const TopicRecord& record : reader_.read_to_end()) take(record);
    return changes_.size();
  }
  const std::vector<pb::MembershipChange>& all() const { return changes_; }
  bool has_open_transaction() { return reader_.has_open_transaction(); }

  // For a user and segment ADD and REMOVE alternate; QUALIFIED is told of members.
  void expect_alternating() const {
    std::map<std::pair<std::string, std::string>, bool> member;
    for (const pb::MembershipChange& change : changes_) {
      bool& is = member[{change.user_id(), change.segment_id()}];
      EXPECT_EQ(is, change.action() != pb::ADD) << change.ShortDebugString();
      is = change.action() != pb::REMOVE;
    }
  }

 private:
  // Gapless numbers in the topic's order, the user's partition, the user as the key.
  void take(const TopicRecord& record) {
    absl::StatusOr<pb::MembershipChange> change = DecodeChange(record.value);
    ASSERT_TRUE(change.ok()) << change.status() << ": " << record.value;
    const absl::StatusOr<ChangeId> id = ParseChangeId(change->change_id());
    ASSERT_TRUE(id.ok()) << id.status();
    ASSERT_EQ(id->topic, events_);
    ASSERT_EQ(id->partition, record.partition);
    ASSERT_EQ(id->number, next_.try_emplace(record.partition, 0).first->second++)
        << "partition " << record.partition << " at offset " << record.offset;
    ASSERT_EQ(record.key, change->user_id());
    ASSERT_EQ(record.partition, PartitionOf(record.key, kPartitions));
    changes_.push_back(*std::move(change));
  }

  std::string events_;
  TopicReader reader_;
  // By partition, the number that comes next.
  std::map<Partition, int64_t> next_;
  std::vector<pb::MembershipChange> changes_;
};

// By user and segment, the changes in their order, as text.
using ChangesByUser = std::map<std::pair<std::string, std::string>, std::vector<std::string>>;

std::string Describe(pb::Action action, Time at, pb::Reason reason, const std::string& event,
                     Time event_at, const std::string& message_id) {
  return fmt::format("{} at {} {} by '{}' of {} id '{}'", pb::Action_Name(action),
                     FormatTimestamp(at), pb::Reason_Name(reason), event,
                     event.empty() ? "never" : FormatTimestamp(event_at), message_id);
}

ChangesByUser UpTo(Time bound, const std::vector<pb::MembershipChange>& changes) {
  ChangesByUser by_user;
  for (const pb::MembershipChange& change : changes) {
    if (TimeOf(change.at()) > bound) continue;
    const pb::Cause& cause = change.cause();
    by_user[{change.user_id(), change.segment_id()}].push_back(
        Describe(change.action(), TimeOf(change.at()), change.reason(), cause.event(),
                 TimeOf(cause.at()), cause.message_id()));
  }
  return by_user;
}

size_t Count(const ChangesByUser& changes) {
  size_t count = 0;
  for (const auto& [user, all] : changes) count += all.size();
  return count;
}

// The first few differences.
std::string Difference(const ChangesByUser& actual, const ChangesByUser& expected) {
  std::set<std::pair<std::string, std::string>> keys;
  for (const auto& [key, all] : actual) keys.insert(key);
  for (const auto& [key, all] : expected) keys.insert(key);
  std::string text;
  int shown = 0;
  for (const auto& key : keys) {
    const auto lines = [&](const ChangesByUser& changes) {
      const auto at = changes.find(key);
      return at == changes.end() ? std::vector<std::string>() : at->second;
    };
    const std::vector<std::string> got = lines(actual);
    const std::vector<std::string> want = lines(expected);
    if (got == want || ++shown > 5) continue;
    const size_t same = static_cast<size_t>(
        std::mismatch(got.begin(), got.end(), want.begin(), want.end()).first - got.begin());
    absl::StrAppend(&text, "\n", key.first, " and ", key.second, ", from #", same, " of ",
                    want.size(), ": ", same < got.size() ? got[same] : "nothing", "\n  expected ",
                    same < want.size() ? want[same] : "nothing");
  }
  if (shown > 5) absl::StrAppend(&text, "\nand ", shown - 5, " more users and segments");
  return text;
}

// -- What comes in, and what the oracle makes of it -----------------------------------------------

// The sample's visits and events of the moment, in the order of the input, each told to the oracle
// too. Copies of the sample are other users who do the same.
class Input {
 public:
  Input(const std::vector<pb::Segment>& segments, int copies)
      : segments_(segments), copies_(copies) {
    settings_.deadline_grace = kGrace;
    FILE* pipe = popen("gzip -dc data/web-visits.ndjson.gz", "re");
    std::string text;
    std::array<char, 16384> part;
    size_t got = 0;
    while ((got = fread(part.data(), 1, part.size(), pipe)) > 0) text.append(part.data(), got);
    EXPECT_EQ(pclose(pipe), 0);
    for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      lines_.emplace_back(line);
    }
    EXPECT_EQ(lines_.size(), 4393U);
  }

  // Shifted so that the last visit is at `last`, the record time the event time.
  std::vector<NewRecord> visits(Time last) {
    Decoder decoder(settings_);
    Fields fields;
    for (const char* path : {"url", "referrer", "file"}) fields.add(path);
    std::vector<property::Record> visits;
    for (const std::string& line : lines_) {
      Event event;
      std::string_view user;
      const DecodeResult result = decoder.decode_line(line, Offset(0), fields, &event, &user);
      EXPECT_TRUE(result.ok()) << result.detail << ": " << line;
      property::Record& visit = visits.emplace_back();
      visit.user = user_index(std::string(user));
      visit.name = event.name;
      visit.time = event.time;
      visit.message_id = event.message_id;
      for (const EventProperty& property : event.properties) {
        visit.properties[fields.path(property.field)] = std::string(property.value.text());
      }
    }
    const Duration shift = last - visits.back().time;
    std::vector<NewRecord> records;
    for (size_t i = 0; i < visits.size(); ++i) {
      property::Record& visit = visits[i];
      const std::string& user = users_[static_cast<size_t>(visit.user)];
      const std::string was = FormatTimestamp(visit.time);
      visit.time = visit.time + shift;
      visit.record_time = visit.time;
      records_.push_back(visit);
      for (int copy = 0; copy < copies_; ++copy) {
        const std::string name = copy_name(user, copy);
        std::string body = absl::StrReplaceAll(
            lines_[i],
            {{fmt::format("\"userId\": \"{}\"", user), fmt::format("\"userId\": \"{}\"", name)},
             {was, FormatTimestamp(visit.time)}});
        records.push_back(RecordOf(name, std::move(body), visit.time));
      }
    }
    return records;
  }

  // Of users whom the sample has not: a tick each, and a tock of every third. Now.
  std::vector<NewRecord> ticks(int users) {
    std::vector<NewRecord> records;
    records.reserve(static_cast<size_t>(users));
    for (int i = 0; i < users; ++i) {
      const std::string user = fmt::format("live-{}", ticks_ % 150);
      const Time now = Now();
      for (const char* event : {"Tick", "Tock"}) {
        if (event == std::string_view("Tock") && ticks_ % 3 != 0) continue;
        property::Record& record = records_.emplace_back();
        record.user = user_index(user);
        record.name = event;
        record.time = now;
        record.record_time = now;
        record.message_id = fmt::format("{}-{}", event, ticks_);
        live_users_.insert(record.user);
        records.push_back(EventRecord(user, event, now, record.message_id));
      }
      ++ticks_;
    }
    return records;
  }

  // All changes that are to be told up to `bound`.
  ChangesByUser expected(Time bound) const {
    property::Oracle oracle(settings_, static_cast<int>(users_.size()));
    for (Slot slot = 0; slot < segments_.size(); ++slot) {
      oracle.define(slot, segments_[slot], Offset(0), Time::Min());
    }
    std::vector<std::vector<property::Told>> told(users_.size());
    for (size_t i = 0; i < records_.size(); ++i) {
      const property::Record& record = records_[i];
      auto verdict = oracle.apply(record, Offset(static_cast<int64_t>(i)), Time::Min());
      EXPECT_EQ(verdict.outcome, Outcome::kApplied) << property::Describe(record);
      for (property::Told& one : verdict.told) {
        // Told of the event being applied only.
        if (one.cause_message_id != record.message_id) one.cause_message_id.clear();
        told[static_cast<size_t>(record.user)].push_back(std::move(one));
      }
    }
    ChangesByUser changes;
    for (size_t u = 0; u < users_.size(); ++u) {
      for (property::Told& one : oracle.advance(static_cast<int>(u), bound)) {
        one.cause_message_id.clear();
        told[u].push_back(std::move(one));
      }
      const bool live = live_users_.contains(static_cast<int>(u));
      for (const property::Told& one : told[u]) {
        if (one.at > bound) continue;
        for (int copy = 0; copy < (live ? 1 : copies_); ++copy) {
          const std::string user = live ? users_[u] : copy_name(users_[u], copy);
          changes[{user, segments_[one.slot].id()}].push_back(Describe(
              one.action, one.at, one.reason, one.cause_event, one.cause_at, one.cause_message_id));
        }
      }
    }
    return changes;
  }

 private:
  static std::string copy_name(const std::string& user, int copy) {
    return copy == 0 ? user : fmt::format("{}-{}", user, copy);
  }
  int user_index(const std::string& user) {
    const auto [at, added] = indexes_.try_emplace(user, static_cast<int>(users_.size()));
    if (added) users_.push_back(user);
    return at->second;
  }

  Settings settings_;
  std::vector<pb::Segment> segments_;
  int copies_;
  std::vector<std::string> lines_;
  std::vector<std::string> users_;
  std::map<std::string, int> indexes_;
  std::set<int> live_users_;
  std::vector<property::Record> records_;
  int ticks_ = 0;
};

// -- The stage ------------------------------------------------------------------------------------

class EndToEnd : public testing::Test {
 protected:
  EndToEnd() : prefix_(NewTopicPrefix()), topics_(prefix_) {}

  ServerProcess server(std::vector<std::string> arguments = {}) const {
    arguments.insert(arguments.begin(), {"--deadline-grace", FormatDuration(kGrace), "--partitions",
                                         fmt::format("{}", kPartitions), "--workers", "2"});
    return ServerProcess(address_, prefix_, std::move(arguments));
  }

  // Before the first start: every segment counts from the first record on, and no partition clock
  // has moved yet. (It follows the wall clock from the start, past the visits' times.)
  void prepare_topics(const std::vector<pb::Segment>& segments) {
    const auto partitions =
        PrepareKafkaTopics(*KafkaSettings::Parse(address_), topics_,
                           {.partitions = kPartitions, .replication_factor = 1}, kLimit);
    ASSERT_TRUE(partitions.ok()) << partitions.status();
    std::vector<NewRecord> records;
    records.reserve(segments.size());
    for (const pb::Segment& segment : segments) {
      records.push_back(
          {.key = segment.id(), .value = SegmentToJson(segment), .record_time = Now()});
    }
    TopicWriter(address_, topics_.definitions).append(records);
  }

  static bool caught_up(const ServerProcess& server, Time clock) {
    return server.metric("segmentd_lag_records") == 0 &&
           server.least("segmentd_clock_seconds") * 1000 >= static_cast<double>(clock.millis());
  }

  const std::string address_ = Broker::Get().address();
  const std::string prefix_;
  const KafkaTopics topics_;
};

TEST_F(EndToEnd, SampleVisitsMatchTheOracle) {
  const std::vector<pb::Segment> segments = Segments(kSegments);
  ASSERT_NO_FATAL_FAILURE(prepare_topics(segments));
  Input input(segments, 1);
  TopicWriter events(address_, topics_.events);
  events.append(input.visits(Now() - Duration::Seconds(5)));

  ServerProcess segmentd = server();
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  for (const pb::Segment& segment : segments) {
    const auto active = [&] {
      const CommandResult got = segmentd.segctl("--json segment get " + segment.id());
      return got.text.find("SEGMENT_STATUS_ACTIVE") != std::string::npos;
    };
    EXPECT_TRUE(Eventually(active)) << segment.id();
  }
  // What comes in now is told as it comes.
  Time last = Now();
  for (int i = 0; i < 5; ++i) {
    last = Now();
    events.append(input.ticks(60));
    last = std::max(last, Now());
    ChangeReader changes(topics_);
    const auto heard = [&] {
      changes.look();
      return std::any_of(changes.all().begin(), changes.all().end(), [&](const auto& change) {
        return change.cause().message_id() == fmt::format("Tick-{}", i * 60);
      });
    };
    ASSERT_TRUE(Eventually(heard)) << i << segmentd.log();
  }
  // The last tick's last deadline is 2 s after it.
  const Time bound = last + Duration::Seconds(2);
  ASSERT_TRUE(Eventually([&] { return caught_up(segmentd, bound); })) << segmentd.log();
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();

  ChangeReader changes(topics_);
  changes.look();
  changes.expect_alternating();
  const ChangesByUser expected = input.expected(bound);
  EXPECT_GT(Count(expected), 1000U);
  EXPECT_EQ(Difference(UpTo(bound, changes.all()), expected), "");
  std::map<std::string, size_t> by_segment;
  for (const auto& [key, all] : expected) by_segment[key.second] += all.size();
  for (const pb::Segment& segment : segments) {
    EXPECT_GT(by_segment[segment.id()], 10U) << segment.id();
  }
  for (const pb::MembershipChange& change : changes.all()) {
    EXPECT_EQ(change.segment_version(), 1);
    EXPECT_NE(change.segment_name(), "");
  }
}

TEST_F(EndToEnd, KilledInTheMiddle) {
  const std::vector<pb::Segment> segments = Segments(kSegments);
  ASSERT_NO_FATAL_FAILURE(prepare_topics(segments));
  Input input(segments, 8);
  TopicWriter events(address_, topics_.events);
  const Time last_visit = Now() - Duration::Seconds(5);
  events.append(input.visits(last_visit));
  const size_t backlog_changes = Count(input.expected(last_visit));

  // Little is fetched at once and little is replayed, so that there is a middle to be killed in,
  // with images of users saved on the way.
  ServerProcess segmentd =
      server({"--max-replay-events", "1000", "--max-replay-time", "1s", "--kafka",
              "fetch.message.max.bytes=32768", "--kafka", "queued.min.messages=100", "--kafka",
              "queued.max.messages.kbytes=32"});
  ChangeReader changes(topics_);
  constexpr size_t kRounds = 6;
  size_t cut = 0;
  double images = 0;
  for (size_t round = 0; round < kRounds; ++round) {
    segmentd.start();
    // Amid a transaction, the first one in the first round; or when nothing is left.
    const size_t target = backlog_changes * round / kRounds;
    double saved = 0;
    bool amid = false;
    // What is open before a life's first commit may be what the life before left.
    const size_t before = changes.look();
    // It runs between the looks only: it needs less time for all than one look may take.
    const auto reached = [&] {
      saved = segmentd.metric("segmentd_images_saved_total").value_or(0);
      segmentd.freeze();
      amid = changes.has_open_transaction() && changes.look() >= target &&
             (round == 0 || changes.all().size() > before);
      if (amid || changes.look() == backlog_changes) return true;
      segmentd.thaw();
      return false;
    };
    ASSERT_TRUE(Eventually(reached))
        << "round " << round << ": " << changes.all().size() << " of " << target << "\n"
        << segmentd.log();
    images += saved;
    segmentd.kill();
    if (amid) ++cut;
    fmt::print("round {}: killed{} after {} of {} changes\n", round,
               amid ? " amid a transaction," : "", changes.all().size(), backlog_changes);
  }
  EXPECT_GT(cut, 0U) << "every kill came after the backlog";
  EXPECT_GT(images, 0);
  // As soon as it starts, and while it restores.
  segmentd.start();
  segmentd.kill();
  segmentd.start();
  ASSERT_TRUE(Eventually([&] { return segmentd.metric("segmentd_build_info").has_value(); }));
  segmentd.kill();

  // With events that come in, while it runs and while it does not.
  Time last;
  for (int round = 0; round < 3; ++round) {
    segmentd.start();
    ASSERT_TRUE(segmentd.await_ready());
    events.append(input.ticks(100));
    ASSERT_TRUE(Eventually([&, before = changes.look()] { return changes.look() > before; }))
        << segmentd.log();
    segmentd.kill();
    events.append(input.ticks(50));
    last = Now();
  }
  segmentd.start();
  const Time bound = last + Duration::Seconds(2);
  ASSERT_TRUE(Eventually([&] { return caught_up(segmentd, bound); })) << segmentd.log();
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();

  changes.look();
  changes.expect_alternating();
  EXPECT_EQ(Difference(UpTo(bound, changes.all()), input.expected(bound)), "");
}

// -- Dead letters ---------------------------------------------------------------------------------

struct Hostile {
  std::string error;
  NewRecord record;
};

class HostileRecords {
 public:
  explicit HostileRecords(uint32_t seed) : random_(seed) {}

  Hostile next(int i) {
    const std::string user = fmt::format("h{}", i);
    const Time now = Now();
    const std::string good = EventJson(user, "Booked", now, fmt::format("h-{}", i));
    Hostile hostile{"malformed_json", RecordOf(user, good, now)};
    NewRecord& record = hostile.record;
    record.headers = {{"trace", fmt::format("trace-{}", i)}, {"trace", ""}, {"null", {}}};
    const auto with_properties = [&](const std::string& properties) {
      return absl::StrCat(good.substr(0, good.size() - 1), ",\"properties\":", properties, "}");
    };
    switch (i % 15) {
      case 0:
        record.value = good.substr(0, 1 + random_() % (good.size() - 1));
        break;
      case 1:
        hostile.error = "key_mismatch";
        record.key = "somebody-else";
        break;
      case 2:
        hostile.error = "missing_key";
        record.key.reset();
        break;
      case 3:
        hostile.error = "invalid_utf8";
        record.value = with_properties("{\"name\":\"\xff\xfe\"}");
        break;
      case 4:
        hostile.error = "too_large";
        record.value = with_properties("{\"name\":\"" + std::string(300'000, 'x') + "\"}");
        break;
      case 5:
        hostile.error = "too_deep";
        record.value =
            with_properties("{\"a\":" + std::string(200, '[') + std::string(200, ']') + "}");
        break;
      case 6:
        hostile.error = "empty_body";
        record.value = "";
        break;
      case 7:
        hostile.error = "unknown_content_type";
        record.headers.emplace_back("content-type", "text/x-poetry");
        break;
      case 8:
        hostile.error = "malformed_protobuf";
        record.headers.emplace_back("content-type", "application/x-protobuf");
        record.value = "\xff\xff\xff\xff";
        break;
      case 9:
        hostile.error = "bad_timestamp";
        record.value = absl::StrReplaceAll(good, {{FormatTimestamp(now), "yesterday"}});
        break;
      case 10:
        hostile.error = "no_event_name";
        record.value = absl::StrReplaceAll(good, {{"\"event\":\"Booked\",", ""}});
        break;
      case 11:
        hostile.error = "unknown_type";
        record.value = absl::StrReplaceAll(good, {{"track", "trick"}});
        break;
      case 12:
        record.value = std::string(50'000, '{');
        hostile.error = "";  // Too deep, or no JSON: either is right.
        break;
      case 13:
        // No JSON begins with a zero byte, whatever comes then.
        record.value = std::string(1, '\0');
        for (int n = 0; n < 200; ++n) record.value += static_cast<char>(random_() % 256);
        hostile.error = "";
        break;
      case 14:
        hostile.error = "empty_body";
        record.value = "";
        record.has_value = false;
        break;
    }
    return hostile;
  }

 private:
  std::mt19937 random_;
};

TEST_F(EndToEnd, BadRecordsBecomeDeadLetters) {
  const uint32_t seed = std::random_device()();
  fmt::print("seed {}\n", seed);
  HostileRecords hostile_records(seed);
  const std::vector<pb::Segment> segments =
      Segments("id: booked\nname: Booked\nlive: { actions: { any_of: [ { event: Booked } ] } }");
  ASSERT_NO_FATAL_FAILURE(prepare_topics(segments));
  ServerProcess segmentd = server();
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  TopicWriter events(address_, topics_.events);
  TopicReader dead_letters(address_, topics_.dead_letters);

  std::map<std::pair<Partition, int64_t>, Hostile> expected;
  std::set<std::string> good_users;
  int made = 0;
  const auto append = [&](int count) {
    std::vector<NewRecord> records;
    std::map<size_t, Hostile> hostile;
    for (const int end = made + count; made < end; ++made) {
      const std::string user = fmt::format("good-{}", made);
      good_users.insert(user);
      records.push_back(EventRecord(user, "Booked", Now(), ""));
      Hostile bad = hostile_records.next(made);
      hostile[records.size()] = bad;
      records.push_back(bad.record);
    }
    const std::vector<int64_t> offsets = events.append(records);
    for (auto& [i, bad] : hostile) {
      expected[{bad.record.partition, offsets[i]}] = std::move(bad);
    }
  };
  std::vector<TopicRecord> found;
  const auto look = [&] {
    for (TopicRecord& record : dead_letters.read_to_end()) found.push_back(std::move(record));
    return found.size();
  };

  append(280);
  ASSERT_TRUE(Eventually([&] { return look() >= expected.size(); })) << segmentd.log();
  EXPECT_EQ(segmentd.metric("segmentd_events_total"), good_users.size());
  std::map<std::string, int> by_error;
  for (const TopicRecord& letter : found) {
    for (const auto& [name, value] : letter.headers) {
      if (name == "error") ++by_error[value.value_or("")];
    }
  }
  EXPECT_EQ(segmentd.metric("segmentd_dead_letters_total"), expected.size());
  const std::string page = "segmentd_dead_letters_total{partition=\"";
  for (const auto& [error, count] : by_error) {
    double counted = 0;
    for (Partition p = 0; p < kPartitions; ++p) {
      counted += segmentd.metric(fmt::format("{}{}\",error=\"{}\"", page, p, error)).value_or(0);
    }
    EXPECT_EQ(counted, count) << error;
  }

  // Killed among them: none is lost, none is there twice.
  const size_t before = look();
  append(140);
  ASSERT_TRUE(Eventually([&] { return look() > before; })) << segmentd.log();
  segmentd.kill();
  append(14);
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  ASSERT_TRUE(Eventually([&] { return look() >= expected.size(); })) << segmentd.log();
  ASSERT_TRUE(Eventually([&] { return segmentd.metric("segmentd_lag_records") == 0; }));
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();
  look();

  std::set<std::pair<Partition, int64_t>> seen;
  for (const TopicRecord& letter : found) {
    auto original = letter.headers;
    ASSERT_GE(original.size(), 4U);
    std::map<std::string, std::string> told;
    for (int added = 0; added < 4; ++added) {
      told[original.back().first] = original.back().second.value_or("");
      original.pop_back();
    }
    ASSERT_TRUE(told.contains("source-partition") && told.contains("source-offset"));
    const std::pair<Partition, int64_t> source = {std::stoi(told["source-partition"]),
                                                  std::stoll(told["source-offset"])};
    ASSERT_TRUE(expected.contains(source)) << source.first << " at " << source.second;
    EXPECT_TRUE(seen.insert(source).second) << "twice";
    const Hostile& hostile = expected[source];
    EXPECT_EQ(letter.partition, source.first);
    EXPECT_EQ(letter.has_key, hostile.record.key.has_value());
    EXPECT_EQ(letter.key, hostile.record.key.value_or(""));
    EXPECT_EQ(letter.has_value, hostile.record.has_value);
    EXPECT_TRUE(letter.value == hostile.record.value) << hostile.error;
    EXPECT_EQ(original, hostile.record.headers);
    EXPECT_NE(told["error"], "");
    EXPECT_NE(told["detail"], "");
    if (!hostile.error.empty()) {
      EXPECT_EQ(told["error"], hostile.error) << told["detail"];
    }
  }
  EXPECT_EQ(seen.size(), expected.size());

  ChangeReader changes(topics_);
  changes.look();
  std::set<std::string> added;
  for (const pb::MembershipChange& change : changes.all()) {
    EXPECT_EQ(change.action(), pb::ADD);
    EXPECT_TRUE(added.insert(change.user_id()).second) << change.user_id();
  }
  EXPECT_EQ(added, good_users);
}

// -- A user larger than a message -----------------------------------------------------------------

TEST_F(EndToEnd, SavesAUserThatNoMessageHolds) {
  // Each sum keeps about a thousand values, a minute apart, that no compression makes smaller.
  constexpr int kSums = 200;
  constexpr int kRecords = 1'100;
  std::string sums;
  for (int i = 0; i < kSums; ++i) {
    if (i > 0) sums += "---\n";
    sums += fmt::format(
        "id: sum-{0}\nname: Sum {0}\npast_behavior: {{ did: {{ event: Paid, within_last: 30d, "
        "sum: {{ property: n{0}, greater_than: 0 }} }} }}\n",
        i);
  }
  ASSERT_NO_FATAL_FAILURE(prepare_topics(Segments(sums)));
  ServerProcess segmentd = server();
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());

  TopicWriter events(address_, topics_.events);
  std::mt19937 random(1);
  std::vector<NewRecord> records;
  const Time now = Now();
  for (int i = 0; i < kRecords; ++i) {
    const Time time = now - Duration::Minutes(kRecords - i);
    std::string body = fmt::format(
        R"({{"type":"track","userId":"u","event":"Paid","timestamp":{},"properties":{{"n":0)",
        time.millis());
    for (int j = 0; j < kSums; ++j) {
      const double n = (1 + static_cast<double>(random())) / (1 + static_cast<double>(random()));
      body += fmt::format(R"(,"n{}":{})", j, n);
    }
    records.push_back(RecordOf("u", body + "}}", time));
  }
  events.append(records);
  ASSERT_TRUE(Eventually([&] { return segmentd.metric("segmentd_events_total") == kRecords; }))
      << segmentd.log();
  // Saves all.
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();
  TopicReader changelog(address_, topics_.changelog);
  size_t largest = 0;
  bool in_parts = false;
  for (const TopicRecord& record : changelog.read_to_end()) {
    in_parts = in_parts || record.key.starts_with("p");
    largest = std::max(largest, record.value.size());
  }
  EXPECT_TRUE(in_parts) << "of " << largest << " bytes";

  for (int life = 0; life < 2; ++life) {
    segmentd.start();
    ASSERT_TRUE(segmentd.await_ready()) << segmentd.log();
    EXPECT_EQ(segmentd.segctl("member check sum-0 u").status, 0);
    segmentd.kill();
  }
  ChangeReader changes(topics_);
  EXPECT_EQ(changes.look(), static_cast<size_t>(kSums));
}

// -- A segment's life -----------------------------------------------------------------------------

TEST_F(EndToEnd, DefinitionLife) {
  ServerProcess segmentd = server();
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  const auto run = [&](const std::string& arguments, int status = 0) {
    const CommandResult result = segmentd.segctl(arguments);
    EXPECT_EQ(result.status, status) << "segctl " << arguments << "\n" << result.text;
    return result.text;
  };
  const auto counts = [&] { return run("--json member count booked"); };
  ChangeReader changes(topics_);
  TopicWriter events(address_, topics_.events);
  int sent = 0;
  const auto send = [&](const std::string& begin, int users, const std::string& event) {
    std::vector<NewRecord> records;
    records.reserve(static_cast<size_t>(users));
    for (int i = 0; i < users; ++i) {
      records.push_back(
          EventRecord(fmt::format("{}{}", begin, i), event, Now(), fmt::format("m{}", sent++)));
    }
    events.append(records);
  };

  const std::string first =
      FileWith("first.yaml",
               "id: booked\nname: Booked\nlive: { actions: { any_of: [ { event: Booked } ] } }\n");
  // Answers when it runs.
  run("segment create -f " + first);
  EXPECT_THAT(run("--json segment get booked"), AllOf(HasSubstr("ACTIVE"), HasSubstr("etag")));
  EXPECT_NE(segmentd.segctl("segment create -f " + first).status, 0);
  run("member check booked u0", 1);

  send("u", 50, "Booked");
  ASSERT_TRUE(Eventually([&] { return segmentd.segctl("member check booked u49").status == 0; }));
  // The answer shows what is committed.
  changes.look();
  EXPECT_TRUE(std::any_of(changes.all().begin(), changes.all().end(),
                          [](const auto& change) { return change.user_id() == "u49"; }));
  ASSERT_TRUE(Eventually([&] { return changes.look() == 50; }));
  EXPECT_THAT(counts(), HasSubstr("50"));
  run("member check booked somebody", 1);

  // An edit, and one that comes from what was before it.
  const std::string stored = run("segment get booked");
  EXPECT_THAT(stored, HasSubstr("etag"));
  const std::string second =
      FileWith("second.yaml", absl::StrReplaceAll(stored, {{"event: Booked", "event: Paid"}}));
  run("segment update -f " + second);
  const CommandResult stale = segmentd.segctl("segment update -f " + second);
  EXPECT_NE(stale.status, 0);
  EXPECT_THAT(stale.text, HasSubstr("etag"));
  send("v", 10, "Booked");
  send("w", 10, "Paid");
  ASSERT_TRUE(Eventually([&] { return changes.look() == 60; }));
  ASSERT_TRUE(Eventually([&] { return segmentd.metric("segmentd_lag_records") == 0; }));
  EXPECT_THAT(counts(), HasSubstr("60"));
  run("member check booked u0");
  run("member check booked v0", 1);
  run("member check booked w0");

  // All of it is there after a stop and after a crash.
  for (const bool crash : {false, true}) {
    if (crash) {
      segmentd.kill();
    } else {
      EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();
    }
    segmentd.start();
    ASSERT_TRUE(segmentd.await_ready());
    EXPECT_THAT(counts(), HasSubstr("60"));
    run("member check booked u0");
    run("member check booked v0", 1);
    EXPECT_THAT(run("segment get booked"), HasSubstr("event: Paid"));
  }
  send("x", 1, "Booked");
  send("x", 1, "Paid");
  ASSERT_TRUE(Eventually([&] { return changes.look() == 61; }));
  EXPECT_EQ(changes.all().back().segment_version(), 2);

  run("segment delete booked");
  ASSERT_TRUE(Eventually([&] { return changes.look() == 122; })) << changes.all().size();
  std::set<std::string> added;
  std::set<std::string> removed;
  for (const pb::MembershipChange& change : changes.all()) {
    if (change.action() == pb::ADD) {
      EXPECT_TRUE(added.insert(change.user_id()).second);
      continue;
    }
    EXPECT_EQ(change.action(), pb::REMOVE);
    EXPECT_EQ(change.reason(), pb::SEGMENT_DELETED);
    EXPECT_TRUE(removed.insert(change.user_id()).second);
  }
  EXPECT_EQ(removed, added);
  EXPECT_THAT(run("segment get booked", 1), HasSubstr("booked"));
  run("member check booked u0", 1);

  segmentd.kill();
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  run("segment get booked", 1);
  send("y", 10, "Paid");
  ASSERT_TRUE(Eventually([&] { return segmentd.metric("segmentd_events_total") == 10; }))
      << segmentd.log();
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();
  EXPECT_EQ(changes.look(), 122U);
}

// Deletes it, also at a broker that is slow to.
void DeleteTopic(const std::string& address, const std::string& name) {
  KafkaHandle handle = *MakeKafkaHandle(
      KafkaRole::kReader, *MakeKafkaConf(*KafkaSettings::Parse(address), KafkaRole::kReader));
  const KafkaPtr<rd_kafka_DeleteTopic_t, rd_kafka_DeleteTopic_destroy> topic(
      rd_kafka_DeleteTopic_new(name.c_str()));
  const KafkaQueue queue(rd_kafka_queue_new(handle.get()));
  rd_kafka_DeleteTopic_t* list[] = {topic.get()};
  rd_kafka_DeleteTopics(handle.get(), list, 1, nullptr, queue.get());
  const KafkaEvent event(rd_kafka_queue_poll(queue.get(), KafkaTimeoutMs(kLimit)));
  ASSERT_NE(event, nullptr);
  ASSERT_EQ(rd_kafka_event_error(event.get()), RD_KAFKA_RESP_ERR_NO_ERROR);
  ASSERT_TRUE(Eventually([&] {
    return absl::IsNotFound(KafkaPartitionCount(handle.get(), name, absl::Seconds(1)).status());
  }));
}

TEST_F(EndToEnd, LostDefinitionsEndNoMembershipUnlessTold) {
  ServerProcess segmentd = server();
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  const std::string booked =
      FileWith("booked.yaml",
               "id: booked\nname: Booked\nlive: { actions: { any_of: [ { event: Booked } ] } }\n");
  ASSERT_EQ(segmentd.segctl("segment create -f " + booked).status, 0);
  ChangeReader changes(topics_);
  std::vector<NewRecord> records;
  constexpr size_t kUsers = 20;
  for (size_t i = 0; i < kUsers; ++i) {
    records.push_back(EventRecord(fmt::format("u{}", i), "Booked", Now(), fmt::format("m{}", i)));
  }
  TopicWriter(address_, topics_.events).append(records);
  ASSERT_TRUE(Eventually([&] { return changes.look() == kUsers; }));

  // While it runs that is told, and all goes on.
  DeleteTopic(address_, topics_.definitions);
  const std::string gone = fmt::format("the broker knows no topic {}", topics_.definitions);
  ASSERT_TRUE(Eventually([&] { return absl::StrContains(segmentd.log(), gone); }))
      << segmentd.log();
  ASSERT_TRUE(Eventually(
      [&] { return segmentd.metric("segmentd_definition_log_failures_total").value_or(0) >= 4; }));
  EXPECT_EQ(segmentd.log().find(gone), segmentd.log().rfind(gone)) << segmentd.log();
  EXPECT_EQ(segmentd.segctl("member check booked u0").status, 0);
  // Made again it is not what was run.
  prepare_topics({});
  const auto failed = [&] {
    return absl::StrContains(segmentd.page("/readyz").text, "partitions failed: 0, 1, 2, 3");
  };
  EXPECT_TRUE(Eventually(failed)) << segmentd.log() << segmentd.page("/readyz").text;
  // And it stays known: nothing is written that would make the topic as long as it was.
  const CommandResult refused = segmentd.segctl("segment create -f " + booked);
  EXPECT_NE(refused.status, 0);
  EXPECT_THAT(refused.text, AllOf(HasSubstr("nothing was stored"), HasSubstr("from a copy")));
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();

  // Nor after a start, which would have made it, too.
  DeleteTopic(address_, topics_.definitions);
  segmentd.start();
  EXPECT_TRUE(Eventually(failed)) << segmentd.log();
  EXPECT_THAT(segmentd.log(),
              AllOf(HasSubstr("FAILED"), HasSubstr("ends at offset 0, but definitions up to 1 "),
                    HasSubstr("--accept-lost-definitions")));
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();
  EXPECT_EQ(changes.look(), kUsers);

  ServerProcess told = server({"--accept-lost-definitions"});
  told.start();
  ASSERT_TRUE(told.await_ready());
  EXPECT_TRUE(Eventually([&] { return changes.look() == 2 * kUsers; })) << told.log();
  changes.expect_alternating();
  EXPECT_EQ(told.stop(), 0) << told.log();
  segmentd.start();
  EXPECT_TRUE(segmentd.await_ready());
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();
}

// -- The past -------------------------------------------------------------------------------------

TEST_F(EndToEnd, CountsThePastThoughKilledWhileBuilding) {
  // Little is fetched at once, so that there is a middle to be killed in.
  ServerProcess segmentd =
      server({"--kafka", "fetch.message.max.bytes=32768", "--kafka", "queued.min.messages=100",
              "--kafka", "queued.max.messages.kbytes=32"});
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  constexpr int kUsers = 12'000;
  TopicWriter events(address_, topics_.events);
  const auto buy = [](int user, const std::string& id) {
    return EventRecord(fmt::format("u{}", user), "Bought", Now(), id);
  };
  // All have bought once, the even ones twice; what each fifth bought came twice.
  std::vector<NewRecord> past;
  for (int i = 0; i < kUsers; ++i) {
    past.push_back(buy(i, fmt::format("first-{}", i)));
    if (i % 2 == 0) past.push_back(buy(i, fmt::format("second-{}", i)));
    if (i % 5 == 0) past.push_back(buy(i, fmt::format("first-{}", i)));
  }
  events.append(past);
  ASSERT_TRUE(Eventually([&] {
    return segmentd.metric("segmentd_events_total") == static_cast<double>(past.size());
  })) << segmentd.log();

  // Answers when it is applied, which is before the past was read.
  const CommandResult created = segmentd.segctl(
      "segment create -f " + FileWith("twice.yaml",
                                      "id: twice\nname: Bought twice\npast_behavior: { did: { "
                                      "event: Bought, within_last: 30d, count: { at_least: 2 } } "
                                      "}\n"));
  EXPECT_EQ(created.status, 0) << created.text;
  segmentd.kill();
  ChangeReader changes(topics_);
  // Bought again while nobody looked, while the past was read, and twice.
  std::set<std::string> members;
  for (int i = 0; i < kUsers; i += 2) members.insert(fmt::format("u{}", i));
  int again = 1;
  const auto buy_again = [&] {
    std::vector<NewRecord> records;
    for (int end = again + 200; again < end; again += 2) {
      records.push_back(buy(again, fmt::format("second-{}", again)));
      members.insert(fmt::format("u{}", again));
    }
    // The first once more.
    records.push_back(buy(kUsers - 1, fmt::format("first-{}", kUsers - 1)));
    events.append(records);
  };
  buy_again();
  for (int round = 0; round < 4; ++round) {
    segmentd.start();
    // Nothing is read once all users have had their turn.
    ASSERT_TRUE(Eventually([&] {
      return segmentd.metric("segmentd_backfill_records_total").value_or(0) > 500 * round ||
             changes.look() >= kUsers / 2;
    })) << segmentd.log();
    buy_again();
    if (round == 3) {
      ASSERT_TRUE(Eventually([&] { return changes.look() > 0; })) << segmentd.log();
    }
    fmt::print("killed with {} changes of {}\n", changes.look(), members.size());
    segmentd.kill();
  }
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  ASSERT_TRUE(Eventually([&] {
    return segmentd.segctl("--json segment get twice").text.find("ACTIVE") != std::string::npos;
  })) << segmentd.log();
  ASSERT_TRUE(Eventually([&] {
    return segmentd.metric("segmentd_lag_records") == 0 && changes.look() >= members.size();
  })) << changes.all().size()
      << " of " << members.size() << "\n"
      << segmentd.log();
  EXPECT_THAT(segmentd.segctl("--json member count twice").text,
              HasSubstr(fmt::format("{}", members.size())));
  EXPECT_EQ(segmentd.least("segmentd_backfill_progress"), 1);
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();

  changes.look();
  std::set<std::string> added;
  int backfilled = 0;
  for (const pb::MembershipChange& change : changes.all()) {
    EXPECT_EQ(change.action(), pb::ADD) << change.ShortDebugString();
    EXPECT_TRUE(added.insert(change.user_id()).second) << change.ShortDebugString();
    backfilled += change.reason() == pb::BACKFILLED;
  }
  EXPECT_EQ(added, members);
  EXPECT_GE(backfilled, kUsers / 2);
}

// -- Without a broker -----------------------------------------------------------------------------

TEST(Start, IsToldOverHttpWhileKafkaIsWaitedFor) {
  ServerProcess segmentd("127.0.0.1:1", NewTopicPrefix());
  segmentd.start();
  ASSERT_TRUE(Eventually([&] { return segmentd.page("/healthz").status == 200; }))
      << segmentd.log();
  EXPECT_EQ(segmentd.page("/readyz").status, 503);
  EXPECT_THAT(segmentd.page("/readyz").text, HasSubstr("waiting for Kafka at 127.0.0.1:1, for "));
  EXPECT_EQ(segmentd.metric("segmentd_build_info"), 1);
  // Once a try has failed.
  EXPECT_TRUE(Eventually([&] {
    return segmentd.page("/readyz").text.find(" s so far: ") != std::string::npos;
  })) << segmentd.page("/readyz").text;
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();
}

TEST(Outage, IsToldByReadiness) {
  Broker broker;
  ServerProcess segmentd(broker.address(), NewTopicPrefix(),
                         {"--kafka", "session.timeout.ms=6000", "--partitions", "1"});
  segmentd.start();
  ASSERT_TRUE(segmentd.await_ready());
  broker.kill();
  // Until the session has timed out the partition is still its own.
  EXPECT_TRUE(Eventually([&] {
    const Page page = segmentd.page("/readyz");
    return page.status == 503 &&
           page.text.starts_with(
               fmt::format("Kafka at {} has not answered since ", broker.address())) &&
           page.text.ends_with(": no partition is assigned to this instance\n");
  })) << segmentd.page("/readyz").text;
  EXPECT_EQ(segmentd.page("/healthz").status, 200);
  broker.start();
  EXPECT_TRUE(segmentd.await_ready());
  EXPECT_EQ(segmentd.stop(), 0) << segmentd.log();
}

TEST(Start, EndsAtOnceWhereAnAddressIsTaken) {
  ServerProcess first("127.0.0.1:1", NewTopicPrefix());
  first.start();
  ASSERT_TRUE(Eventually([&] { return first.page("/healthz").status == 200; })) << first.log();
  ServerProcess second("127.0.0.1:1", NewTopicPrefix());
  second.use_http_address_of(first);
  second.start();
  EXPECT_EQ(second.await_end(), 3) << second.log();
  EXPECT_THAT(second.log(), HasSubstr("--http: 127.0.0.1:"));
  EXPECT_THAT(second.log(), Not(HasSubstr("waiting for Kafka")));
}

TEST(StartupTimeout, IsKeptWithoutABroker) {
  ServerProcess segmentd("127.0.0.1:1", NewTopicPrefix(), {"--startup-timeout", "1s"});
  const absl::Time begun = absl::Now();
  segmentd.start();
  EXPECT_EQ(segmentd.await_end(), 3) << segmentd.log();
  // A try that knew nothing of it would take 5 s.
  EXPECT_LT(absl::Now() - begun, absl::Seconds(4));
  EXPECT_THAT(segmentd.log(), HasSubstr("gave up after 1s"));
}

// -- Topics ---------------------------------------------------------------------------------------

TEST_F(EndToEnd, WrongTopicsAreRefused) {
  KafkaHandle handle = *MakeKafkaHandle(
      KafkaRole::kReader, *MakeKafkaConf(*KafkaSettings::Parse(address_), KafkaRole::kReader));
  const KafkaPtr<rd_kafka_NewTopic_t, rd_kafka_NewTopic_destroy> topic(
      rd_kafka_NewTopic_new(topics_.changelog.c_str(), kPartitions, 1, nullptr, 0));
  rd_kafka_NewTopic_set_config(topic.get(), "cleanup.policy", "delete");
  const KafkaQueue queue(rd_kafka_queue_new(handle.get()));
  rd_kafka_NewTopic_t* list[] = {topic.get()};
  rd_kafka_CreateTopics(handle.get(), list, 1, nullptr, queue.get());
  const KafkaEvent event(rd_kafka_queue_poll(queue.get(), KafkaTimeoutMs(kLimit)));
  ASSERT_NE(event, nullptr);
  ASSERT_EQ(rd_kafka_event_error(event.get()), RD_KAFKA_RESP_ERR_NO_ERROR);

  ServerProcess segmentd = server();
  segmentd.start();
  EXPECT_GT(segmentd.await_end(), 0);
  EXPECT_THAT(segmentd.log(),
              AllOf(HasSubstr(topics_.changelog), HasSubstr("cleanup.policy=delete"),
                    HasSubstr(fmt::format("kafka-configs.sh --bootstrap-server {} --alter "
                                          "--entity-type topics --entity-name {} "
                                          "--add-config cleanup.policy=compact",
                                          address_, topics_.changelog))));
}

}  // namespace
}  // namespace segmentd
