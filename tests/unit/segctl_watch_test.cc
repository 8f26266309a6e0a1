// segctl watch against a server whose feed of changes ends.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "absl/status/status.h"

#include "api/membership_service.h"
#include "state/change_feed.h"
#include "tests/unit/manual_clock.h"
#include "tests/unit/memory_definition_log.h"
#include "tests/unit/memory_queries.h"
#include "tests/unit/segctl_process.h"
#include "tests/unit/segctl_server.h"
#include "tests/unit/uninstrumented.h"

namespace segmentd {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Some changes, and then no more.
class EndingFeed final : public ChangeFeed {
 public:
  absl::Status Follow(const std::map<int32_t, int64_t>&,
                      absl::FunctionRef<bool(const segments::v1::MembershipChange&)> change,
                      absl::FunctionRef<bool()>) override {
    for (const char* id : {"my-events-2:81734", "my-events-0:7", "my-events-2:81735"}) {
      segments::v1::MembershipChange next;
      next.set_action(segments::v1::ADD);
      next.set_segment_id("booked");
      next.set_user_id(quiet ? "another" : "ada");
      next.set_change_id(id);
      if (!change(next)) return absl::OkStatus();
    }
    return end;
  }

  // Changes of a user that nobody asks for.
  bool quiet = false;
  absl::Status end = absl::UnavailableError("Socket closed");
};

class SegctlWatch : public testing::Test {
 protected:
  void SetUp() override {
    SKIP_UNDER_THREAD_SANITIZER();
    server_.emplace(service_.handlers());
  }

  // What it says to standard error.
  SegctlResult Said(const std::string& arguments) {
    return Segctl("watch " + arguments + " 2>&1 >/dev/null", server());
  }
  const std::string& server() const { return server_->address(); }

  ManualClock clock_;
  MemoryDefinitionLog log_;
  MemoryQueries queries_;
  EndingFeed feed_;
  const Access access_ = Access::Open();
  MembershipService service_{queries_, log_, feed_, clock_.function(), access_, {}};
  std::optional<SegctlServer> server_;
};

TEST_F(SegctlWatch, SaysWhereToGoOnWhenItEnds) {
  const SegctlResult result = Said("");
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(result.text,
            "segctl: " + server() +
                ": the watch ended, the server went away (Socket closed)\n"
                "Go on after the last change shown with --from 0:8 --from 2:81736; partitions not "
                "named begin with their next change.\n");
}

TEST_F(SegctlWatch, PartitionsWithoutAChangeGoOnWhereTheyBegan) {
  EXPECT_THAT(Said("--from 5:40 --from 0:3").text,
              HasSubstr("with --from 0:8 --from 2:81736 --from 5:40;"));
}

TEST_F(SegctlWatch, APartitionBeginsInOnePlace) {
  const SegctlResult result = Said("--from 5:0 --from 0:3 --from 5:2");
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.text, "segctl: --from: partition 5 is given twice; give each once\n");
}

TEST_F(SegctlWatch, WithoutAChangeItBeginsAnew) {
  feed_.quiet = true;
  const SegctlResult nothing = Said("--member ada");
  EXPECT_EQ(nothing.status, 3);
  EXPECT_EQ(nothing.text, "segctl: " + server() +
                              ": Socket closed\n"
                              "No change was shown; watch again from the next changes on.\n");
  const SegctlResult from = Said("--member ada --from 5:40");
  EXPECT_EQ(from.status, 3);
  EXPECT_EQ(from.text, "segctl: " + server() +
                           ": Socket closed\n"
                           "No change was shown; watch again with the same --from.\n");
}

TEST_F(SegctlWatch, ACancelledOneEndsToo) {
  feed_.end = absl::CancelledError("the server's time is up");
  const SegctlResult result = Said("");
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.text, HasSubstr("the watch ended, the server went away (the server's time"));
  EXPECT_THAT(result.text, HasSubstr("--from 0:8 --from 2:81736;"));
}

TEST_F(SegctlWatch, WhatTheServerRefusesIsNoEnd) {
  feed_.end = absl::OutOfRangeError("change 3 of partition 0 is no longer held");
  const SegctlResult refused = Said("--from 0:3");
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(refused.text, "segctl: change 3 of partition 0 is no longer held\n");
  // It gave up, but did not go away.
  feed_.end = absl::InternalError("a bug");
  EXPECT_EQ(Said("").text, "segctl: " + server() + ": a bug\n");
  const SegctlResult nobody = Segctl("watch --from 0:3 2>&1");
  EXPECT_EQ(nobody.status, 3);
  EXPECT_THAT(nobody.text, HasSubstr("Is segmentd running there?"));
  EXPECT_THAT(nobody.text, Not(HasSubstr("--from")));
}

TEST_F(SegctlWatch, ARefusalBeforeTheFirstChangeIsToldAsOne) {
  feed_.quiet = true;
  const std::string place = server() + ": ";
  for (const auto& [end, status, text] :
       {std::tuple{absl::InvalidArgumentError("no such partition"), 2, std::string()},
        std::tuple{absl::NotFoundError("no such segment"), 1, std::string()},
        std::tuple{absl::PermissionDeniedError("not with this token"), 2, std::string()},
        std::tuple{absl::ResourceExhaustedError("at most 100 of these"), 3, place},
        std::tuple{absl::InternalError("a bug"), 3, place},
        std::tuple{absl::UnknownError("what is it"), 3, place}}) {
    feed_.end = end;
    const SegctlResult result = Said("--member ada --from 5:40");
    EXPECT_EQ(result.status, status) << end;
    EXPECT_EQ(result.text, "segctl: " + text + std::string(end.message()) + "\n");
  }
  feed_.end = absl::UnavailableError("the server is shutting down");
  const SegctlResult ending = Said("--member ada --from 5:40");
  EXPECT_EQ(ending.status, 3);
  EXPECT_THAT(ending.text, StartsWith("segctl: " + place + "the server is shutting down\n"));
}

TEST_F(SegctlWatch, AServerThatCannotBeFoundIsNoEnd) {
  const SegctlResult result = Segctl("watch --server :7600 2>&1");
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.text, HasSubstr("Is segmentd running there?"));
  EXPECT_THAT(result.text, Not(HasSubstr("No change was shown")));
}

}  // namespace
}  // namespace segmentd
