// One input partition: its clock, its users and its place in the input.
//
// A task turns records and the passing of time into changes, and keeps what it takes to do that
// exactly once. The idea is a database's: the input topic is the log, users are the pages, the
// Kafka transaction is the commit. A step applies records and fires deadlines, which puts changes
// and dead letters into the step's transaction; save() adds the task record (place, clock, next
// change number) and the images of some of the longest-unsaved users, so that a recovery never has
// to read far back. Memory may be ahead of what is committed only within a step.
//
// A task has no thread and knows no Kafka: its worker calls it, or a simulation. After a step that
// did not commit the worker makes a new task, which restores.
//
// Its sources: task.cc applies records, fires deadlines and tells what came of it, task_restore.cc
// comes back to the last commit, task_save.cc records where the task is, task_guards.cc bounds the
// changes of a minute, task_rules.cc brings definitions into force, and task_build.cc builds
// segments that count the past.
//
//                  start(): the changelog was read
//     RESTORING ------------------+-------------------> RUNNING ------> CLOSED
//         |                       |                      ^   |  close(): revoked, or
//         |                       v                      |   |  stopped, all saved
//         |                   REPLAYING -----------------+   |
//         |                       |   the input was read     |
//         v                       v   again, hash is right   v
//       FAILED <------------------+--------------------------+
//
// FAILED is for what means lost or doubled changes; failure() names partition, offset and cause. A
// record that can't be understood is a dead letter and no failure.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "proto/segments/v1/definition.pb.h"
#include "proto/segments/v1/membership_service.pb.h"
#include "proto/segments/v1/state.pb.h"
#include "segment/engine.h"
#include "segment/settings.h"
#include "state/queries.h"
#include "state/timing_wheel.h"
#include "state/user_store.h"
#include "stream/applied_definitions.h"
#include "stream/backfill.h"
#include "stream/change_codec.h"
#include "stream/decoder.h"
#include "stream/io.h"
#include "stream/metrics.h"
#include "stream/partition_clock.h"
#include "stream/recovery.h"
#include "stream/step.h"

namespace segmentd {

// The segments that should run, as the definitions topic holds them.
using WantedDefinitions = std::shared_ptr<const std::vector<segments::v1::Segment>>;

// A version of time zone data that nobody knows.
inline constexpr std::string_view kUnknownTimeZoneData = "unknown";

struct TaskOptions {
  // Name of the input topic, prefix included; part of every change ID.
  std::string events_topic = "events";
  // The consumer group, for what a person is told to do.
  std::string group = "segmentd";
  ChangeFormat output_format = ChangeFormat::kJson;
  // Wanted. A task goes on with the recorded ones until it has saved everything once.
  Settings settings;
  // Of the time zone data that the process reads. Recorded beside the settings; what was recorded
  // can't be brought back, so another version is told of and taken up at once.
  std::string time_zone_data_version{kUnknownTimeZoneData};
  // Where to begin when nothing was ever committed.
  bool start_at_latest = false;
  // Go on behind records that the broker deleted before they were read, instead of failing.
  bool accept_lost_input = false;
  // Go on with a definitions topic that ends before what was run of it, instead of failing.
  bool accept_lost_definitions = false;

  // How far back a recovery may have to read: users unsaved for longer are saved.
  int64_t max_replay_events = 200'000;
  absl::Duration max_replay_time = absl::Seconds(10);

  // Portions, so that nothing holds up the stream for long.
  size_t users_saved_per_step = 4'000;
  // When all are to be saved.
  size_t users_drained_per_step = 50'000;
  size_t bytes_saved_per_step = 16 << 20;
  // A larger image is saved in parts: a broker refuses messages of more than 1 MiB by default.
  // Raised from one start to the next, it leaves records of parts behind that nobody needs.
  size_t image_part_bytes = 1'000'000;
  size_t deadlines_per_portion = 1'000;
  size_t users_scanned_per_step = 100'000;
  // Users who have their turn, times the segments that are activated; each user is saved.
  size_t users_built_per_step = 2'000;
};

class Task {
 public:
  // `options` and `metrics` outlive the task.
  Task(Partition partition, const TaskOptions& options, TaskMetrics& metrics);
  ~Task();
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  Partition partition() const { return partition_; }
  // Another one for each task of the process: what was read from one does not go on in the next.
  uint64_t life() const { return life_; }
  TaskState state() const { return state_; }
  bool running() const { return state_ == TaskState::kRunning; }
  // OK unless FAILED.
  const absl::Status& failure() const { return failure_; }
  void fail(absl::Status cause);

  // RESTORING: begins with what the changelog held. `committed` is the consumer group's offset,
  // `held` the input's first offset and the one behind its last. ABORTED when the changelog was
  // read before an older owner's last commit showed in it: read it again. After any other error the
  // task is FAILED.
  absl::Status start(std::unique_ptr<Restored> restored, std::optional<Offset> committed,
                     std::pair<Offset, Offset> held);
  // The next record wanted.
  Offset position() const { return position_; }

  // Applies records, in order; how many were taken: fewer than all when the step is full, or the
  // task is halted or has failed. `wall` is the time of their reading.
  size_t apply(absl::Span<const Record> records, Time wall, Step& step);
  // All records before `end` were given to apply(), and there were no more at `asked_at`.
  void reach_end(Offset end, Time asked_at);
  // Fires a portion of what is due. False when more is due and need not wait for a commit.
  bool fire(Step& step);
  // A segment has passed its max_changes_per_minute: nothing more is applied or fired until it is
  // paused, which the next save() does or, where much is unsaved, one of the next.
  bool halted() const { return !over_.empty(); }

  // The definitions that should run: what their topic holds before `end`. save() applies them, as
  // soon as all users are saved. Without effect when the task has run later ones, here or
  // elsewhere: those come yet.
  void want(WantedDefinitions definitions, Offset end = Offset());
  // Behind the last definition that was wanted and run.
  Offset definitions_end() const { return definitions_end_; }
  // RUNNING or REPLAYING, with nothing in a step: their topic ends at `end`, as its broker says.
  // FAILED when that is before definitions_end(), unless that is accepted.
  absl::Status check_definitions_end(Offset end);

  // The step holds something of this task that others wait for: changes, dead letters.
  bool has_told() const { return told_ > 0; }
  // A user's state is another than the recorded ones give.
  bool has_touched() const { return touched_; }
  // There is something to record.
  bool has_progress() const;
  // Steps are waited for: by definitions to be applied, by members to be removed, by users to have
  // their turn.
  bool has_work() const {
    return running() && (rules_pending() || !scanned_slots_.empty() || !turns_.empty());
  }

  // What is to be read of the input's past, for segments that are not ACTIVE; while RUNNING.
  const std::vector<HistoryRequest>& histories_wanted() const { return histories_wanted_; }
  // The one at `index` was read. Without effect when it is known.
  void take_history(size_t index, const std::shared_ptr<const History>& history);
  // How much of it was, from 0 to 1.
  void note_reading(size_t index, double progress);
  // Between steps: statuses() are up to date. True when they have changed.
  bool refresh_statuses();

  // Ends the task's part of a step: puts users' images and the task record into it. With
  // `everything` as many images as one transaction should hold. `now` is monotonic.
  void save(Step& step, absl::Duration now, bool everything = false);
  // Every user's state is in an image, in the step or before.
  bool saved() const { return users_->dirty() == 0; }
  // The step was committed: memory is the committed state.
  void committed();
  // RUNNING, saved and committed: no more is applied.
  void close();

  // Queries; between steps, when nothing is told, memberships are the committed ones.
  const UserStore& users() const { return *users_; }
  const Engine& engine() const { return *engine_; }
  // Deadlines up to here have fired.
  Time fired() const { return fired_; }
  int64_t next_change() const { return next_change_; }
  int64_t members(Slot slot) const { return slot < members_.size() ? members_[slot] : 0; }
  // Those in force, as committed between steps.
  const AppliedDefinitions& definitions() const { return definitions_; }
  // Their rules; another object after each change of them.
  const std::shared_ptr<const RuleSet>& rules() const { return rules_; }
  // How far the definitions are, as committed; never null.
  const std::shared_ptr<const DefinitionStatuses>& statuses() const { return statuses_; }

 private:
  // task.cc

  void apply_one(const Record& record, uint64_t hash, Time wall, Step& step);
  // Keeps the books of a user whose state has changed by the record at `since`, or just before it.
  void settle(StoredUser& user, Offset since, Step& step);
  void arm(StoredUser& user);
  // Numbers and writes what the engine found, but for shadow segments and the slot in `untold`,
  // whose members nobody knows.
  void tell(const StoredUser& user, Step& step, std::optional<Slot> untold = std::nullopt);
  void write_dead_letter(const Record& record, const DecodeResult& error, Step& step);
  // What the engine has cut off since the last time.
  void count_cut_off();
  void publish_metrics();

  // task_restore.cc

  absl::Status load(Restored& restored, std::pair<Offset, Offset> held);
  // Where the input is read from, which holds the records of the range `held`: from where the
  // record left off, or from the first on.
  absl::Status go_on_from(segments::v1::TaskRecord record, std::pair<Offset, Offset> held);
  absl::Status begin_anew(const Restored& restored, std::pair<Offset, Offset> held);
  size_t replay(absl::Span<const Record> records);
  absl::Status finish_replay();

  // task_save.cc

  void save_user(StoredUser& user, Step& step);
  void save_oldest(size_t limit, bool only_overdue, Step& step);
  bool overdue(const StoredUser& user) const;
  Offset replay_offset() const;
  void write_record(Step& step);

  // task_guards.cc

  // Watches over a segment's max_changes_per_minute.
  void guard(const ActiveSegment& segment);
  void record_guards();
  void restore_guards();

  // task_rules.cc

  bool rules_pending() const;
  // Definitions, settings and freed slots change when no user is unsaved: a replay runs under one
  // set of rules. While some of what is due has not fired, segments are paused and nothing else.
  void change_rules(Step& step);
  void free_slots(Step& step);
  void use_settings();
  // Each with its record. Whether users' states must be taken over.
  bool apply_definitions(AppliedDefinitions::Change change, Step& step);
  bool pause_over(Step& step);
  bool run_wanted(Step& step);
  void save_definition(const segments::v1::AppliedDefinition& definition, Step& step);
  // Removes a deleted segment from the next users' states.
  void scan(Step& step);
  DefinitionStatuses progress() const;

  // task_build.cc

  // What is to be done for segments that are not ACTIVE, after the definitions or histories have
  // changed.
  void plan_builds();
  // Which histories are read, for the segments in the slots.
  void plan_histories(const std::vector<Slot>& slots);
  HistoryRequest request_history(Offset until, std::shared_ptr<const RuleSet> rules) const;
  const History* history_of(Slot slot) const;
  // The next users have their turn with the segments being activated.
  void take_turns(Step& step);
  bool take_turn(StoredUser& user, Slot slot, Step& step);
  bool all_had_turn() const { return !turns_.empty() && turn_at_ >= users_->size(); }

  const Partition partition_;
  const uint64_t life_;
  const TaskOptions& options_;
  TaskMetrics& metrics_;
  TaskState state_ = TaskState::kRestoring;
  absl::Status failure_;

  // As last put into a step.
  segments::v1::TaskRecord record_;
  // Those in force.
  Settings settings_;
  AppliedDefinitions definitions_;
  std::shared_ptr<const RuleSet> rules_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Decoder> decoder_;
  ChangeEncoder encoder_;

  std::unique_ptr<UserStore> users_;
  TimingWheel wheel_;
  PartitionClock clock_;
  // Deadlines up to here have fired; behind clock_ while portions are left.
  Time fired_ = Time::Min();
  Offset position_;
  int64_t next_change_ = 0;
  uint64_t state_hash_ = 0;
  // By slot.
  std::vector<int64_t> members_;

  // Of a recovery: where the replay ends is record_.next_offset; by user, what their image
  // includes.
  std::vector<Offset> included_;

  // Deadlines fired behind `fired_` since the last save(): where a portion ends within a moment,
  // the recorded clock stays before it, and those users are saved at once.
  std::vector<TimingWheel::Due> ahead_;

  // Since the last commit.
  StepCounts<int64_t> counts_;
  // The engine's when they were last taken in.
  EngineCounters cut_off_;
  // Changes and dead letters since the last commit.
  int64_t told_ = 0;
  // A user's state has changed since the last save().
  bool touched_ = false;
  // Records since the last save().
  size_t applied_ = 0;
  // Positions of the last max_replay_time, oldest first; users dirty since before `old_` are
  // overdue.
  struct Mark {
    Offset position;
    absl::Duration at;
  };
  std::deque<Mark> marks_;
  Offset old_{-1};

  WantedDefinitions wanted_;
  Offset wanted_end_;
  Offset definitions_end_;
  bool definitions_differ_ = false;
  // The slots whose segments are being taken out of the users' states, all in one go, and the next
  // user to look at.
  std::vector<Slot> scanned_slots_;
  UserIndex scan_at_ = 0;
  // Through with all users.
  std::vector<Slot> freed_slots_;
  // What segments that are not ACTIVE need of the past, how much of each is read, and what was.
  std::vector<HistoryRequest> histories_wanted_;
  std::vector<double> read_;
  std::vector<std::shared_ptr<const History>> histories_;
  // BUILDING with all that it takes: next to be activated.
  std::vector<Slot> ready_;
  // Being activated, those that others refer to first, and the next user whose turn it is.
  std::vector<Slot> turns_;
  // Of these, those that the user whose turn it is has not had before.
  std::vector<Slot> built_;
  UserIndex turn_at_ = 0;

  // By slot: changes in the present minute of the clock. Recorded, like over_, so that a crash
  // forgets neither.
  struct Minute {
    // The segment's; 0 for nothing counted.
    int64_t version = 0;
    int64_t minute = 0;
    int64_t changes = 0;
  };
  std::vector<Minute> minutes_;
  // Past their max_changes_per_minute, and not yet paused.
  std::vector<Slot> over_;

  std::shared_ptr<const DefinitionStatuses> statuses_;
  bool statuses_changed_ = false;

  // Scratch.
  Changes changes_;
  Past past_;
  std::vector<uint64_t> hashes_;
  std::vector<TimingWheel::Due> due_;
  std::string key_;
  std::string value_;
  std::vector<HeaderView> headers_;
};

}  // namespace segmentd
