// What a task must refuse: topics that were emptied, made again, cut off or damaged.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>

#include "fmt/format.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"

#include "proto/segments/v1/state.pb.h"
#include "segment/definition_text.h"
#include "state/changelog_codec.h"
#include "stream/task.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/process.h"

namespace segmentd::simulation {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kStartAnew =
    "To start anew, delete the changelog, the changes, whose numbers begin with 0 again, and the "
    "group's offsets, all three";
constexpr const char* kCart =
    "id: cart\nname: Cart\nlive: { inaction: { trigger: { event: A }, does_not_do: [ { event: B } "
    "], within: 2s } }\n";

WantedDefinitions Definitions(const std::string& yaml) {
  auto wanted = std::make_shared<std::vector<segments::v1::Segment>>();
  auto documents = ReadSegmentDocuments(yaml);
  if (!documents.ok()) return wanted;
  for (const SegmentDocument& document : *documents) {
    wanted->push_back(document.segment);
    wanted->back().set_version(1);
  }
  return wanted;
}

// What is logged while it lives, from warnings on.
class Log {
 public:
  Log() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_st>(lines_)));
    spdlog::set_level(spdlog::level::warn);
  }
  ~Log() {
    spdlog::set_default_logger(before_);
    spdlog::set_level(spdlog::level::off);
  }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  std::string text() const { return lines_.str(); }

 private:
  std::ostringstream lines_;
  const std::shared_ptr<spdlog::logger> before_;
};

class Recovery : public ::testing::Test {
 protected:
  Recovery() {
    spdlog::set_level(spdlog::level::off);
    options_.restore_in_background = false;
    options_.backfill.background = false;
    options_.attempts = 3;
    options_.task.max_replay_time = absl::Hours(1);
    definitions_ = Definitions(kCart);
  }

  void append(const std::string& user, const std::string& event) {
    cluster_.append(
        0, InputRecord{.key = user,
                       .value = fmt::format(
                           R"({{"type":"track","userId":"{}","event":"{}","timestamp":{}}})", user,
                           event, cluster_.wall.millis()),
                       .record_time = cluster_.wall});
    cluster_.pass(Duration::Millis(100));
  }

  void start() {
    process_ = std::make_unique<Process>(cluster_, "one", options_);
    process_->worker().want(definitions_, definitions_end_);
  }
  void turns(int n) {
    for (; n > 0; --n) {
      process_->worker().turn();
      cluster_.pass(Duration::Millis(100));
    }
  }
  // Everything so far is applied and committed; then the process is killed.
  void work_and_die() {
    start();
    turns(100);
    ASSERT_EQ(state(), TaskState::kRunning) << failure();
    process_.reset();
  }
  TaskState state() const { return process_->board().find(0)->state; }
  std::string failure() const { return process_->board().find(0)->failure; }
  const Task* task() const { return process_->worker().running(0); }

  std::deque<OutputRecord>& changelog() { return cluster_.log(Topic::kChangelog, 0); }
  // The latest record of the kind in the changelog.
  OutputRecord& latest(ChangelogKind kind) {
    auto& log = changelog();
    for (size_t i = log.size(); i-- > 0;) {
      if (log[i].key[0] == static_cast<char>(kind) && log[i].value) return log[i];
    }
    throw std::logic_error("the changelog has none");
  }
  void alter_record(void (*alter)(segments::v1::TaskRecord&)) {
    OutputRecord& record = latest(ChangelogKind::kTask);
    segments::v1::TaskRecord parsed = *ParseTaskRecord(*record.value);
    alter(parsed);
    record.value = FormatTaskRecord(parsed);
  }

  Cluster cluster_{1, 1};
  WorkerOptions options_;
  WantedDefinitions definitions_;
  // What the process has read of their topic, or 0 for not known.
  Offset definitions_end_;
  std::unique_ptr<Process> process_;
};

TEST_F(Recovery, GoesOnWhereItStopped) {
  append("u", "A");
  work_and_die();
  ASSERT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), 1u);
  start();
  turns(10);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_EQ(task()->next_change(), 1);
  append("u", "B");
  turns(30);
  EXPECT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), 2u);
}

TEST_F(Recovery, RefusesAStateThatIsNotTheRecordedOne) {
  append("u", "A");
  work_and_die();
  alter_record(
      [](segments::v1::TaskRecord& record) { record.set_state_hash(record.state_hash() + 1); });
  start();
  turns(10);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(), AllOf(HasSubstr("partition 0"), HasSubstr("offset 1"), HasSubstr("hash")));
  append("v", "A");
  turns(50);
  EXPECT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), 1u);
}

TEST_F(Recovery, RefusesAnInputThatWasChanged) {
  append("u", "A");
  append("v", "A");
  work_and_die();
  // Nobody was saved yet, so the records are read again.
  Cluster::Input& input = cluster_.input_for_damage(0);
  input[1]->value = input[1]->value.replace(input[1]->value.find("\"A\""), 3, "\"X\"");
  start();
  turns(10);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(), HasSubstr("1 members of segment cart instead of 2"));
}

TEST_F(Recovery, RefusesALostChangelog) {
  append("u", "A");
  work_and_die();
  changelog().clear();
  start();
  turns(100);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(), AllOf(HasSubstr("changelog"), HasSubstr("has no task record"),
                               HasSubstr(kStartAnew)));
}

TEST_F(Recovery, RefusesGroupOffsetsThatWereMovedAheadUntilTheyArePutBack) {
  options_.task.group = "shop.segmentd";
  append("u", "A");
  append("v", "A");
  work_and_die();
  const int64_t saved = ParseTaskRecord(*latest(ChangelogKind::kTask).value)->next_offset();
  append("w", "A");
  append("x", "A");
  cluster_.move_committed(0, Offset(saved + 1));
  start();
  turns(100);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(
      failure(),
      AllOf(HasSubstr(fmt::format("the consumer group's offset is {}, but the changelog ends at {}",
                                  saved + 1, saved)),
            HasSubstr(fmt::format(
                "kafka-consumer-groups.sh --bootstrap-server … --group shop.segmentd --topic "
                "events:0 --reset-offsets --to-offset {} --execute",
                saved)),
            HasSubstr(kStartAnew)));
  process_.reset();

  cluster_.move_committed(0, Offset(saved));
  work_and_die();
  EXPECT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), 4u);
}

// Why starting anew takes the changes, too: their numbers begin again.
TEST_F(Recovery, BeginsTheChangesAgainWithoutItsChangelogAndTheGroupsOffsets) {
  append("u", "A");
  work_and_die();
  const std::string first = *cluster_.read_committed(Topic::kChanges, 0).at(0)->value;
  EXPECT_THAT(first, AllOf(HasSubstr("\"ADD\""), HasSubstr("\"events-0:0\"")));
  changelog().clear();
  cluster_.forget_committed(0);
  work_and_die();
  const auto changes = cluster_.read_committed(Topic::kChanges, 0);
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(*changes[1]->value, first);
}

TEST_F(Recovery, RefusesAChangelogWithoutItsTaskRecord) {
  append("u", "A");
  work_and_die();
  // With a committed offset, that alone would tell.
  cluster_.forget_committed(0);
  std::erase_if(changelog(), [](const OutputRecord& record) {
    return record.key[0] == static_cast<char>(ChangelogKind::kTask);
  });
  start();
  turns(100);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(),
              AllOf(HasSubstr("users or definitions but no task record"), HasSubstr(kStartAnew)));
}

TEST_F(Recovery, RefusesAnUnreadableImage) {
  append("u", "A");
  start();
  turns(100);
  process_->worker().stop();
  process_.reset();
  latest(ChangelogKind::kUser).value = "\xff";
  start();
  turns(10);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(), AllOf(HasSubstr("partition 0"), HasSubstr("uu")));
}

TEST_F(Recovery, RefusesAnInputThatWasMadeAgain) {
  append("u", "A");
  append("u", "B");
  work_and_die();
  cluster_.input_for_damage(0).clear();
  start();
  turns(10);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(),
              AllOf(HasSubstr("ends at offset 0"), HasSubstr("made again"), HasSubstr(kStartAnew)));
}

TEST_F(Recovery, RefusesToSkipDeletedRecordsUnlessTold) {
  append("u", "A");
  start();
  turns(50);
  process_->worker().stop();
  process_.reset();
  for (int i = 0; i < 5; ++i) append("v", "A");
  append("w", "A");
  cluster_.set_first(0, 6);
  start();
  turns(10);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(), AllOf(HasSubstr("from 1 on"), HasSubstr("--accept-lost-input")));

  options_.task.accept_lost_input = true;
  start();
  turns(50);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_NE(task()->users().find("w"), nullptr);
  EXPECT_EQ(task()->users().find("v"), nullptr);
}

TEST_F(Recovery, RefusesToRestoreWithoutTheRecordsItNeeds) {
  append("u", "A");
  append("u", "B");
  work_and_die();
  cluster_.set_first(0, 1);
  options_.task.accept_lost_input = true;
  start();
  turns(10);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(), AllOf(HasSubstr("needed to restore"), HasSubstr(kStartAnew),
                               Not(HasSubstr("--accept"))));
}

TEST_F(Recovery, RefusesDefinitionsThatWereMadeAgainUnlessTold) {
  append("u", "A");
  cluster_.pass(Duration::Seconds(10));
  definitions_end_ = Offset(3);
  work_and_die();
  const size_t told = cluster_.read_committed(Topic::kChanges, 0).size();
  ASSERT_EQ(told, 1u);
  definitions_ = Definitions("");
  definitions_end_ = Offset(0);
  options_.task.accept_lost_input = true;
  start();
  turns(50);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(), AllOf(HasSubstr("partition 0"), HasSubstr("ends at offset 0"),
                               HasSubstr("up to 3 were run"), HasSubstr("from a copy"),
                               HasSubstr("--accept-lost-definitions")));
  EXPECT_EQ(process_->board().all_metrics().at(0)->restores.value(), 0);
  EXPECT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), told);
  // Whoever writes definitions knows.
  EXPECT_EQ(process_->board().definitions_end(), Offset(3));

  options_.task.accept_lost_definitions = true;
  {
    const Log log;
    work_and_die();
    EXPECT_THAT(log.text(), AllOf(HasSubstr("[warning]"), HasSubstr("partition 0"),
                                  HasSubstr("up to 3 were run")));
  }
  const auto changes = cluster_.read_committed(Topic::kChanges, 0);
  ASSERT_EQ(changes.size(), told + 1);
  EXPECT_THAT(*changes.back()->value, HasSubstr("SEGMENT_DELETED"));
  // Once: what is there now was run.
  options_.task.accept_lost_definitions = false;
  work_and_die();
}

TEST_F(Recovery, RefusesDefinitionsThatWereMadeAgainWhileItRan) {
  append("u", "A");
  definitions_end_ = Offset(3);
  start();
  turns(50);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  const size_t told = cluster_.read_committed(Topic::kChanges, 0).size();
  // Within a step.
  append("v", "A");
  process_->worker().turn();
  process_->worker().want(Definitions(""), Offset(1));
  process_->worker().turn();
  EXPECT_EQ(state(), TaskState::kRestoring);
  EXPECT_EQ(process_->board().definitions_end(), Offset(3));
  turns(50);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_EQ(process_->board().definitions_end(), Offset(3));
  EXPECT_THAT(failure(), AllOf(HasSubstr("ends at offset 1"), HasSubstr("up to 3 were run")));
  EXPECT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), told);
}

TEST_F(Recovery, KnowsTheDefinitionsThatItRanWithoutAChange) {
  append("u", "A");
  work_and_die();
  // An earlier version did not record how far they were.
  alter_record([](segments::v1::TaskRecord& record) { record.clear_definitions_end(); });
  definitions_end_ = Offset(3);
  work_and_die();
  EXPECT_EQ(ParseTaskRecord(*latest(ChangelogKind::kTask).value)->definitions_end(), 3);
  // Never less.
  definitions_end_ = Offset(7);
  work_and_die();
  EXPECT_EQ(ParseTaskRecord(*latest(ChangelogKind::kTask).value)->definitions_end(), 7);
}

TEST_F(Recovery, GoesOnWithItsDefinitionsWhileTheirLogIsBehind) {
  append("u", "A");
  definitions_end_ = Offset(3);
  work_and_die();
  // Another instance, which has read nothing of them yet but that there is more.
  Offset end(3);
  absl::Status answer = absl::UnavailableError("no broker");
  options_.definitions_end = [&]() -> absl::StatusOr<Offset> {
    if (!answer.ok()) return answer;
    return end;
  };
  const WantedDefinitions newest = definitions_;
  definitions_ = Definitions("");
  definitions_end_ = Offset(1);
  start();
  turns(100);
  EXPECT_EQ(state(), TaskState::kRestoring);
  answer = absl::OkStatus();
  turns(200);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  process_->worker().want(definitions_, Offset(2));
  turns(50);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_EQ(process_->board().status("cart", 1).status, segments::v1::SEGMENT_STATUS_ACTIVE);
  process_->worker().want(newest, Offset(4));
  turns(50);
  EXPECT_EQ(ParseTaskRecord(*latest(ChangelogKind::kTask).value)->definitions_end(), 4);
  EXPECT_EQ(process_->board().all_metrics().at(0)->restores.value(), 0);
  for (const OutputRecord* change : cluster_.read_committed(Topic::kChanges, 0)) {
    EXPECT_THAT(*change->value, Not(HasSubstr("SEGMENT_DELETED")));
  }
  // Told so, it does not take what it has not read for lost.
  process_.reset();
  options_.task.accept_lost_definitions = true;
  end = Offset(4);
  start();
  turns(50);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_EQ(task()->definitions_end(), Offset(4));
}

TEST_F(Recovery, TakesDefinitionsForLostOnlyAfterSeveralAnswers) {
  append("u", "A");
  definitions_end_ = Offset(3);
  work_and_die();
  // A broker that has just become the leader, at first.
  int asked = 0;
  int too_low = 2;
  options_.definitions_end = [&]() -> absl::StatusOr<Offset> {
    return Offset(++asked > too_low ? 3 : 2);
  };
  definitions_end_ = Offset(1);
  start();
  turns(20);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_GT(asked, too_low);
  // And while it runs.
  asked = 0;
  process_->worker().want(definitions_, Offset(1));
  turns(20);
  EXPECT_EQ(asked, too_low + 1);
  EXPECT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_EQ(process_->board().all_metrics().at(0)->restores.value(), 0);
  // Not without end, neither here nor after a start.
  too_low = 1'000;
  for (const bool started : {true, false}) {
    asked = 0;
    if (!started) start();
    process_->worker().want(Definitions(""), Offset(1));
    turns(3);
    EXPECT_EQ(state(), started ? TaskState::kRunning : TaskState::kRestoring);
    turns(100);
    EXPECT_EQ(state(), TaskState::kFailed);
    EXPECT_THAT(failure(), AllOf(HasSubstr("ends at offset 2"), HasSubstr("up to 3 were run")));
    EXPECT_GE(asked, 4);
    EXPECT_LE(asked, 8);
  }
}

TEST_F(Recovery, AsksOnceForAllPartitionsWhereTheDefinitionsEnd) {
  Cluster cluster(3, 1);
  int asked = 0;
  absl::StatusOr<Offset> answer = absl::UnavailableError("no broker");
  options_.definitions_end = [&] {
    ++asked;
    return answer;
  };
  Process process(cluster, "one", options_);
  const auto turns = [&](int n) {
    for (; n > 0; --n) {
      process.worker().turn();
      cluster.pass(Duration::Millis(10));
    }
  };
  const auto states = [&] {
    std::vector<TaskState> all;
    for (const auto& [partition, entry] : process.board().entries()) all.push_back(entry.state);
    return all;
  };
  const std::vector<TaskState> running(3, TaskState::kRunning);
  process.worker().want(definitions_, Offset(3));
  turns(50);
  ASSERT_EQ(states(), running);
  // A broker that is silent says nothing of the topic: nothing is dropped for that.
  const Log log;
  process.worker().want(definitions_, Offset(1));
  turns(1);
  EXPECT_EQ(asked, 1);
  EXPECT_THAT(log.text(), AllOf(HasSubstr("does not say"), HasSubstr("no broker"),
                                Not(HasSubstr("ends before"))));
  turns(100);
  EXPECT_GE(asked, 3);
  EXPECT_LE(asked, 5) << "with longer and longer waits";
  EXPECT_EQ(states(), running);
  answer = Offset(3);
  turns(100);
  const int answered = asked;
  turns(100);
  EXPECT_EQ(asked, answered);
  EXPECT_EQ(states(), running);
  for (const auto& [partition, metrics] : process.board().all_metrics()) {
    EXPECT_EQ(metrics->restores.value(), 0);
  }
}

TEST_F(Recovery, TakesUpOtherSettings) {
  append("u", "A");
  work_and_die();
  options_.task.settings.max_lateness = Duration::Minutes(5);
  start();
  turns(50);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_EQ(task()->engine().settings().max_lateness, Duration::Minutes(5));
  EXPECT_EQ(ParseTaskRecord(*latest(ChangelogKind::kTask).value)->settings().max_lateness_ms(),
            300'000);
}

TEST_F(Recovery, TellsOfOtherTimeZoneDataAndRecordsIt) {
  const auto recorded = [this] {
    return ParseTaskRecord(*latest(ChangelogKind::kTask).value)
        ->settings()
        .time_zone_data_version();
  };
  // What is logged when a task goes on under data of that version.
  const auto go_on = [&](const std::string& version) {
    options_.task.time_zone_data_version = version;
    const Log log;
    append("u", "A");
    work_and_die();
    return log.text();
  };
  EXPECT_EQ(go_on("2024a"), "");
  EXPECT_EQ(go_on("2024a"), "");
  EXPECT_THAT(go_on("2024b"), AllOf(HasSubstr("[warning]"), HasSubstr("partition 0"),
                                    HasSubstr("under time zone data 2024a, and"),
                                    HasSubstr("under 2024b"), HasSubstr("midnights")));
  EXPECT_EQ(recorded(), "2024b");
  EXPECT_EQ(go_on("2024b"), "");
  // Nothing can be said, and what was known is not forgotten.
  EXPECT_EQ(go_on("unknown"), "");
  EXPECT_EQ(recorded(), "2024b");
  EXPECT_THAT(go_on("2025a"), HasSubstr("under time zone data 2024b, and"));
  EXPECT_EQ(recorded(), "2025a");
  // By a version of segmentd that did not record it.
  alter_record([](segments::v1::TaskRecord& record) {
    record.mutable_settings()->clear_time_zone_data_version();
  });
  EXPECT_EQ(go_on("2025b"), "");
}

TEST_F(Recovery, NamesOtherTimeZoneDataAsAPossibleCauseOfAnotherState) {
  options_.task.time_zone_data_version = "2024a";
  append("u", "A");
  work_and_die();
  alter_record(
      [](segments::v1::TaskRecord& record) { record.set_state_hash(record.state_hash() + 1); });
  start();
  turns(10);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(), Not(HasSubstr("time zone data")));

  options_.task.time_zone_data_version = "2024b";
  start();
  turns(10);
  EXPECT_EQ(state(), TaskState::kFailed);
  EXPECT_THAT(failure(),
              AllOf(HasSubstr("hash"), HasSubstr("was 2024a and is 2024b"), HasSubstr("TZDIR")));
}

TEST_F(Recovery, StartsAtTheLatestRecordWhenToldSo) {
  append("u", "A");
  options_.task.start_at_latest = true;
  start();
  turns(3);
  append("v", "A");
  turns(50);
  EXPECT_EQ(task()->users().find("u"), nullptr);
  EXPECT_NE(task()->users().find("v"), nullptr);
}

TEST_F(Recovery, KeepsTheReplayShort) {
  options_.task.max_replay_events = 10;
  options_.task.users_saved_per_step = 1;
  start();
  for (int i = 0; i < 200; ++i) {
    append(fmt::format("user-{}", i % 50), "A");
    if (i % 5 == 4) turns(20);
  }
  turns(20);
  const segments::v1::TaskRecord record = *ParseTaskRecord(*latest(ChangelogKind::kTask).value);
  EXPECT_EQ(record.next_offset(), 200);
  EXPECT_GE(record.replay_offset(), 190);
}

TEST_F(Recovery, ADefinitionThatCannotRunIsReportedAndTheOthersRun) {
  definitions_ = Definitions(std::string(kCart) +
                             "---\nid: bad\nname: Bad\nlive: { actions: { any_of: [ { event: A, "
                             "where: [ { property: n, matches: \"(\" } ] } ] } }\n");
  append("u", "A");
  start();
  turns(50);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_EQ(process_->board().status("cart", 1).status, segments::v1::SEGMENT_STATUS_ACTIVE);
  const TaskBoard::Status bad = process_->board().status("bad", 1);
  EXPECT_EQ(bad.status, segments::v1::SEGMENT_STATUS_INVALID);
  EXPECT_THAT(bad.detail, HasSubstr("matches"));
  EXPECT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), 1u);
}

TEST_F(Recovery, ADeletedSegmentsMembersLeaveAndItsSlotIsFree) {
  append("u", "A");
  start();
  turns(50);
  process_->worker().want(Definitions(""));
  turns(50);
  const auto changes = cluster_.read_committed(Topic::kChanges, 0);
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_THAT(*changes[1]->value, HasSubstr("SEGMENT_DELETED"));
  EXPECT_EQ(task()->engine().rules().segments().size(), 0u);
  const OutputRecord& last =
      *std::find_if(changelog().rbegin(), changelog().rend(), [](const OutputRecord& r) {
        return r.key[0] == static_cast<char>(ChangelogKind::kDefinition);
      });
  EXPECT_FALSE(last.value.has_value());
}

TEST_F(Recovery, AnEditWaitsForWhatWasDueBeforeIt) {
  options_.task.deadlines_per_portion = 1;
  for (int i = 0; i < 5; ++i) append(fmt::format("u{}", i), "A");
  start();
  turns(10);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  ASSERT_TRUE(cluster_.read_committed(Topic::kChanges, 0).empty());
  // All fall due before the edit, and fire one at a time.
  cluster_.pass(Duration::Seconds(10));
  auto edited = std::make_shared<std::vector<segments::v1::Segment>>(*definitions_);
  edited->at(0).mutable_live()->mutable_inaction()->set_within("1h");
  edited->at(0).set_version(2);
  process_->worker().want(edited);
  turns(50);
  EXPECT_EQ(process_->board().status("cart", 2).status, segments::v1::SEGMENT_STATUS_ACTIVE);
  EXPECT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), 5u);
}

TEST_F(Recovery, CountsWhatWasCommittedOnce) {
  append("u", "A");
  append("v", "A");
  append("v", "B");
  cluster_.append(0, InputRecord{.key = "u", .value = "{", .record_time = cluster_.wall});
  cluster_.faults.abort = 10'000;
  start();
  turns(200);
  const TaskMetrics& metrics = *process_->board().all_metrics().at(0);
  ASSERT_GT(metrics.restores.value(), 1);
  EXPECT_EQ(metrics.events.value(), 0);
  EXPECT_EQ(metrics.dead_letters[static_cast<size_t>(DecodeError::kMalformedJson)].value(), 0);
  EXPECT_EQ(metrics.images_saved.value(), 0);
  cluster_.faults.abort = 0;
  turns(200);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_EQ(metrics.events.value(), 3);
  EXPECT_EQ(metrics.deadlines.value(), 1);
  EXPECT_EQ(metrics.dead_letters[static_cast<size_t>(DecodeError::kMalformedJson)].value(), 1);
  ASSERT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), 1u);
  EXPECT_EQ(metrics.changes[segments::v1::ADD].value(), 1);
}

TEST_F(Recovery, AnswersNothingOfAPendingThatIsNotCommitted) {
  options_.commit_interval = absl::Minutes(1);
  options_.progress_interval = absl::Hours(1);
  start();
  turns(20);
  append("u", "A");
  turns(3);
  // Applied and told nobody: it would be lost with the process.
  bool answered = false;
  ASSERT_TRUE(process_->worker().ask([&](Worker&) { answered = true; }));
  turns(3);
  EXPECT_FALSE(answered);
  cluster_.pass(Duration::Minutes(1));
  turns(3);
  EXPECT_TRUE(answered);
  process_.reset();
  start();
  turns(20);
  ASSERT_EQ(state(), TaskState::kRunning) << failure();
  EXPECT_NE(task()->users().find("u"), nullptr);
}

TEST_F(Recovery, AnswersNothingThatIsNotCommitted) {
  options_.commit_interval = absl::Hours(1);
  append("u", "A");
  start();
  int64_t seen = -1;
  // The change is told by now, and not committed.
  turns(50);
  ASSERT_TRUE(process_->worker().ask([&](Worker& w) { seen = w.running(0)->next_change(); }));
  turns(3);
  EXPECT_EQ(seen, -1);
  EXPECT_TRUE(cluster_.read_committed(Topic::kChanges, 0).empty());
  cluster_.pass(Duration::Hours(1));
  turns(3);
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(cluster_.read_committed(Topic::kChanges, 0).size(), 1u);
}

}  // namespace
}  // namespace segmentd::simulation
