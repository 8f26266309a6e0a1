#include "stream/step.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace segmentd {
namespace {

// Notes what is called.
class NotedTransactions final : public Transactions {
 public:
  absl::Status begin() override {
    calls.push_back("begin");
    return begin_status;
  }
  absl::Status write(const Write& write) override {
    calls.push_back("write " + std::string(write.key));
    return write_status;
  }
  CommitResult commit(absl::Span<const std::pair<Partition, Offset>> input_offsets,
                      std::string*) override {
    calls.push_back("commit " + std::to_string(input_offsets.size()));
    return result;
  }
  void abort() override { calls.push_back("abort"); }
  absl::Status renew() override { return absl::OkStatus(); }

  std::vector<std::string> calls;
  absl::Status begin_status;
  absl::Status write_status;
  CommitResult result = CommitResult::kCommitted;
};

using Calls = std::vector<std::string>;

const std::vector<std::pair<Partition, Offset>> kOffsets = {{3, Offset(7)}};

TEST(Step, BeginsWithItsFirstWrite) {
  NotedTransactions transactions;
  Step step(transactions, {});
  EXPECT_TRUE(step.empty());
  step.write({.key = "a", .value = "1"});
  step.write({.key = "b", .value = "22"});
  EXPECT_FALSE(step.empty());
  EXPECT_EQ(step.records(), 2);
  EXPECT_EQ(step.bytes(), 5);
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kCommitted);
  EXPECT_EQ(transactions.calls, (Calls{"begin", "write a", "write b", "commit 1"}));
  EXPECT_TRUE(step.empty());
  EXPECT_EQ(step.bytes(), 0);
}

TEST(Step, WithoutAWriteCostsNothing) {
  NotedTransactions transactions;
  Step step(transactions, {});
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kCommitted);
  step.abort();
  EXPECT_TRUE(transactions.calls.empty());
}

TEST(Step, AfterAFailedWriteIsAbortedWhateverFollows) {
  NotedTransactions transactions;
  Step step(transactions, {});
  step.write({.key = "a"});
  transactions.write_status = absl::UnavailableError("queue full");
  step.write({.key = "b"});
  transactions.write_status = absl::OkStatus();
  EXPECT_TRUE(step.full());
  step.write({.key = "c"});
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kAborted);
  EXPECT_NE(why.find("queue full"), std::string::npos);
  EXPECT_EQ(transactions.calls, (Calls{"begin", "write a", "write b", "abort"}));
}

TEST(Step, ThatCannotBeginIsAborted) {
  NotedTransactions transactions;
  transactions.begin_status = absl::UnavailableError("no broker");
  Step step(transactions, {});
  step.write({.key = "a"});
  EXPECT_FALSE(step.empty());
  std::string why;
  EXPECT_EQ(step.commit(kOffsets, &why), CommitResult::kAborted);
  EXPECT_EQ(transactions.calls, Calls{"begin"});
  EXPECT_TRUE(step.empty());
}

TEST(Step, IsFullAtEitherBound) {
  NotedTransactions transactions;
  Step by_records(transactions, {.records = 2, .bytes = 1'000});
  by_records.write({.key = "a"});
  EXPECT_FALSE(by_records.full());
  by_records.write({.key = "a"});
  EXPECT_TRUE(by_records.full());
  Step by_bytes(transactions, {.records = 100, .bytes = 10});
  by_bytes.write({.key = "a", .value = "123456789"});
  EXPECT_TRUE(by_bytes.full());
}

}  // namespace
}  // namespace segmentd
