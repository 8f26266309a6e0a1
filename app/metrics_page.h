// What /metrics says, in Prometheus' text format. Names and meanings are in docs/operations.md.
#pragma once

#include <string>

#include "stream/instance.h"
#include "stream/kafka_change_feed.h"
#include "stream/kafka_definition_log.h"
#include "stream/task_board.h"

namespace segmentd {

// Any thread, as the others. Before there is an instance.
std::string MetricsPage();
// The part of the tasks.
std::string TasksPage(const TaskBoard& board);
std::string MetricsPage(const StreamInstance& instance, const KafkaDefinitionLog& definitions,
                        const KafkaChangeFeed& changes);

}  // namespace segmentd
