#include "stream/task_board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

namespace segmentd {
namespace {

using segments::v1::SegmentStatus_Name;
using testing::AllOf;
using testing::HasSubstr;

// "BUILDING 0.25: why"
std::string StatusOf(const TaskBoard& board, int64_t version) {
  const TaskBoard::Status status = board.status("s", version);
  std::string text =
      SegmentStatus_Name(status.status).substr(std::string("SEGMENT_STATUS_").size());
  if (status.build_progress != 0) text += " " + std::to_string(status.build_progress).substr(0, 4);
  return status.detail.empty() ? text : text + ": " + status.detail;
}

void Post(TaskBoard& board, Partition partition, const DefinitionStatus& status,
          TaskState state = TaskState::kRunning) {
  auto statuses = std::make_shared<DefinitionStatuses>();
  statuses->emplace("s", status);
  board.post(partition, {.state = state, .definitions = std::move(statuses)});
}

TEST(TaskBoard, ActiveWhenEveryTaskRunsTheVersion) {
  TaskBoard board;
  EXPECT_EQ(StatusOf(board, 2), "PENDING: no partition runs here");
  Post(board, 0, {.version = 2});
  Post(board, 3, {.version = 1});
  EXPECT_EQ(StatusOf(board, 2), "PENDING: not yet applied in partition 3");
  Post(board, 3, {.version = 2});
  EXPECT_EQ(StatusOf(board, 2), "ACTIVE");
  Post(board, 4, {}, TaskState::kFailed);
  EXPECT_EQ(StatusOf(board, 2), "ACTIVE");
  Post(board, 5, {.version = 1, .rejected_version = 2, .rejected = "why"});
  EXPECT_EQ(StatusOf(board, 2), "INVALID: why");
}

TEST(TaskBoard, TellsHowFarTheDefinitionsWereThatWereRun) {
  TaskBoard board;
  EXPECT_EQ(board.definitions_end(), Offset(0));
  board.post(0, {.state = TaskState::kRunning, .definitions_end = Offset(2)});
  board.post(1, {.state = TaskState::kFailed, .definitions_end = Offset(3)});
  EXPECT_EQ(board.definitions_end(), Offset(3));
  board.remove(1, nullptr);
  EXPECT_EQ(board.definitions_end(), Offset(2));
  board.remove(0, nullptr);

  // Tasks that come up know nothing; one is enough.
  board.post(0, {.state = TaskState::kRestoring});
  board.post(1, {.state = TaskState::kFailed});
  EXPECT_EQ(board.definitions_end(), std::nullopt);
  board.post(2, {.state = TaskState::kRestoring, .definitions_end = Offset(5)});
  EXPECT_EQ(board.definitions_end(), Offset(5));
  board.post(2, {.state = TaskState::kReplaying});
  EXPECT_EQ(board.definitions_end(), Offset(0));
}

TEST(TaskBoard, BuildingUntilTheLastTaskHasBuilt) {
  TaskBoard board;
  Post(board, 0, {.version = 1, .building = true, .progress = 0.5});
  Post(board, 1, {.version = 1, .building = true, .progress = 0.999});
  Post(board, 2, {.version = 1});
  EXPECT_EQ(StatusOf(board, 1), "BUILDING 0.83: evaluating the history in partitions 0, 1");
  // It has been applied all the same.
  EXPECT_TRUE(board.wait_applied("s", 1, absl::InfinitePast()));
  // Not done before it is done.
  Post(board, 0, {.version = 1, .building = true, .progress = 0.9999});
  EXPECT_EQ(StatusOf(board, 1), "BUILDING 0.99: evaluating the history in partitions 0, 1");
  Post(board, 0, {.version = 1});
  Post(board, 1, {.version = 1});
  EXPECT_EQ(StatusOf(board, 1), "ACTIVE");
  // A task that has the version before counts first.
  Post(board, 0, {.version = 1, .building = true});
  EXPECT_THAT(StatusOf(board, 2), HasSubstr("PENDING"));
}

TEST(TaskBoard, TheNextVersionWaitsForOneThatKeepsItsPlace) {
  TaskBoard board;
  Post(board, 0, {.version = 1});
  EXPECT_FALSE(board.waits_for_build("s", 2));
  Post(board, 1, {.version = 1, .keeps_version = true, .building = true});
  EXPECT_TRUE(board.waits_for_build("s", 2));
  EXPECT_FALSE(board.waits_for_build("s", 1));
  EXPECT_FALSE(board.waits_for_build("t", 2));
  // Where it is still to come it waits for nothing.
  Post(board, 0, {});
  EXPECT_EQ(StatusOf(board, 1), "PENDING: not yet applied in partition 0");
  Post(board, 0, {.version = 1});
  EXPECT_EQ(StatusOf(board, 2),
            "PENDING: not yet applied in partitions 0, 1: it waits until the version before is "
            "built");
}

TEST(TaskBoard, PausedByWhom) {
  TaskBoard board;
  Post(board, 0, {.version = 1, .paused = true});
  Post(board, 1, {.version = 1, .building = true, .progress = 0.5});
  EXPECT_THAT(StatusOf(board, 1), AllOf(HasSubstr("PAUSED: "), HasSubstr("by PauseSegment")));
  Post(board, 1, {.version = 1, .paused = true, .paused_by_guard = true});
  EXPECT_THAT(StatusOf(board, 1),
              AllOf(HasSubstr("PAUSED: "), HasSubstr("max_changes_per_minute in partition 1;")));
}

}  // namespace
}  // namespace segmentd
