// What /metrics says of partitions, by the state that their tasks are in.

#include "app/metrics_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace segmentd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void Set(TaskBoard* board, Partition partition, TaskState state, int64_t next, int64_t end) {
  TaskMetrics& metrics = board->metrics(partition);
  metrics.state = state;
  metrics.next_offset.set(next);
  metrics.end_offset.set(end);
  board->post(partition, {.state = state});
}

TEST(TasksPage, TellsTheLagOfPartitionsThatAreRead) {
  TaskBoard board;
  Set(&board, 1, TaskState::kRunning, 10, 17);
  Set(&board, 2, TaskState::kReplaying, 10, 18);
  const std::string page = TasksPage(board);
  EXPECT_THAT(page, HasSubstr("segmentd_lag_records{partition=\"1\"} 7\n"));
  EXPECT_THAT(page, HasSubstr("segmentd_lag_records{partition=\"2\"} 8\n"));
}

TEST(TasksPage, TellsNoLagWhereNothingIsRead) {
  TaskBoard board;
  for (const TaskState state : {TaskState::kFailed, TaskState::kRestoring, TaskState::kClosed}) {
    Set(&board, 3, state, 0, 0);
    const std::string page = TasksPage(board);
    EXPECT_THAT(page, Not(HasSubstr("segmentd_lag_records{partition=\"3\"}")));
    EXPECT_THAT(page, HasSubstr("segmentd_events_total{partition=\"3\"} 0\n"));
  }
}

TEST(TasksPage, TellsTheStateOfEachPartition) {
  TaskBoard board;
  Set(&board, 3, TaskState::kFailed, 0, 0);
  const std::string page = TasksPage(board);
  EXPECT_THAT(page, HasSubstr("segmentd_task_state{partition=\"3\",state=\"failed\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("segmentd_task_state{partition=\"3\",state=\"running\"} 0\n"));
}

}  // namespace
}  // namespace segmentd
