#include "segment/rule_set.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "segment/compiled_rules.h"
#include "tests/unit/small_engine.h"

namespace segmentd {
namespace {

using testing::HasSubstr;

ActiveSegment Active(Slot slot, std::string_view live) {
  ActiveSegment active{.slot = slot};
  active.segment = FromYaml("{ name: S, live: " + std::string(live) + " }");
  active.segment.set_id("s" + std::to_string(slot));
  active.segment.set_version(1);
  return active;
}

std::shared_ptr<const RuleSet> Compile(std::vector<ActiveSegment> segments) {
  auto rules = RuleSet::Compile(std::move(segments));
  EXPECT_TRUE(rules.ok()) << rules.status();
  return *rules;
}

TEST(RuleSet, OfNothing) {
  const auto rules = Compile({});
  EXPECT_EQ(rules->atoms(), 0u);
  EXPECT_EQ(rules->fields().size(), 0u);
  EXPECT_EQ(rules->segment(0), nullptr);
  EXPECT_EQ(rules->find("s0"), nullptr);
}

TEST(RuleSet, SharesEqualConditions) {
  const auto rules = Compile({
      Active(0,
             "{ actions: { any_of: [ { event: A, where: [ { property: x, equals: 1 }, "
             "{ property: y, exists: true } ] } ] } }"),
      // The order of tests does not matter, nor does saying one twice.
      Active(1,
             "{ actions: { any_of: [ { event: A, where: [ { property: y, exists: true }, "
             "{ property: x, equals: 1 }, { property: x, equals: 1 } ] } ] } }"),
      Active(2,
             "{ inaction: { trigger: { event: A }, does_not_do: [ { event: A } ], "
             "within: 1m } }"),
  });
  EXPECT_EQ(rules->atoms(), 2u);
  EXPECT_EQ(rules->compiled().tests.size(), 2u);
  EXPECT_EQ(rules->fields().size(), 2u);
}

TEST(RuleSet, TellsLikeConditionsApart) {
  const auto rules = Compile({
      Active(0, "{ actions: { any_of: [ { event: A, where: [ { property: x, equals: 1 } ] } ] } }"),
      Active(
          1,
          "{ actions: { any_of: [ { event: A, where: [ { property: x, equals: \"1\" } ] } ] } }"),
      Active(2, "{ actions: { any_of: [ { event: A, where: [ { property: y, equals: 1 } ] } ] } }"),
      Active(3,
             "{ actions: { any_of: [ { event: A, where: [ { property: x, equals: X, "
             "ignore_case: true } ] } ] } }"),
      Active(4, "{ actions: { any_of: [ { event: A, where: [ { property: x, equals: X } ] } ] } }"),
  });
  EXPECT_EQ(rules->atoms(), 5u);
}

TEST(RuleSet, NamesAtomsAlikeInEveryBuild) {
  const char* const kLive = "{ actions: { any_of: [ { event: A } ] }, exit: { after: 1h } }";
  const auto alone = Compile({Active(0, kLive)});
  const auto among =
      Compile({Active(0, "{ actions: { any_of: [ { event: Z } ] } }"), Active(5, kLive)});
  EXPECT_TRUE(
      among->compiled().atom_by_fingerprint.contains(alone->compiled().atoms[0].fingerprint));
}

TEST(RuleSet, FindsByIdAndSlot) {
  auto deleted = Active(3, "{ actions: { any_of: [ { event: B } ] } }");
  deleted.deleting = true;
  const auto rules = Compile({Active(1, "{ actions: { any_of: [ { event: A } ] } }"), deleted});
  ASSERT_NE(rules->segment(1), nullptr);
  EXPECT_EQ(rules->find("s1"), rules->segment(1));
  EXPECT_EQ(rules->segment(0), nullptr);
  EXPECT_EQ(rules->segment(2), nullptr);
  EXPECT_NE(rules->segment(3), nullptr);
  EXPECT_EQ(rules->find("s3"), nullptr) << "being deleted";
  EXPECT_EQ(rules->segment(4), nullptr);
  EXPECT_EQ(rules->atoms(), 1u) << "what is being deleted is not evaluated";
  EXPECT_EQ(rules->segments().size(), 2u);
}

TEST(RuleSet, OnlyHasEverQualifiedKeepsNoFacts) {
  const auto kept = [](std::string_view live) {
    return Compile({Active(0, live)})->compiled().atoms[0].kept;
  };
  EXPECT_FALSE(kept("{ actions: { any_of: [ { event: A } ] } }"));
  EXPECT_FALSE(kept("{ page_visit: { url: { exists: true } }, exit: { never: true } }"));
  EXPECT_TRUE(kept("{ actions: { any_of: [ { event: A } ], repeat: true } }"));
  EXPECT_TRUE(kept("{ actions: { any_of: [ { event: A } ] }, exit: { after: 1h } }"));
  EXPECT_TRUE(kept("{ actions: { any_of: [ { event: A } ] }, exit: { on: [ { event: B } ] } }"));
  EXPECT_TRUE(
      kept("{ actions: { any_of: [ { event: A } ] }, "
           "filter: { property: { property: x, exists: true } } }"));
  EXPECT_TRUE(kept("{ page_count: { at_least: 1, per: session } }"));
  EXPECT_TRUE(kept("{ referrer: { url: { exists: true } } }"));

  // Shared with one that needs them.
  const auto shared =
      Compile({Active(0, "{ actions: { any_of: [ { event: A } ] } }"),
               Active(1, "{ actions: { any_of: [ { event: A } ] }, exit: { after: 1h } }")});
  ASSERT_EQ(shared->atoms(), 1u);
  EXPECT_TRUE(shared->compiled().atoms[0].kept);
}

TEST(RuleSet, FieldsAreThoseOfEventConditionsOnly) {
  const auto rules = Compile({Active(
      0,
      "{ inaction: { trigger: { event: A, where: [ { property: cart.total, at_least: 1 } ] }, "
      "does_not_do: [ { event: B } ], within: 1m, match: cart.id }, "
      "filter: { property: { property: country, equals: IN } } }")});
  std::vector<std::string> paths;
  for (FieldIndex i = 0; i < rules->fields().size(); ++i) paths.push_back(rules->fields().path(i));
  EXPECT_THAT(paths, testing::UnorderedElementsAre("cart.total", "cart.id"));
}

TEST(RuleSet, SaysWhatCannotBeRun) {
  auto active = Active(0, "{ actions: { any_of: [ { event: A } ] } }");
  active.segment.mutable_live()->mutable_actions()->mutable_any_of(0)->add_where()->set_matches(
      "(");
  const auto rules = RuleSet::Compile({active});
  EXPECT_EQ(rules.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(rules.status().message()), HasSubstr("s0"));
  EXPECT_THAT(std::string(rules.status().message()), HasSubstr("live.actions.any_of[0].where[0]"));
}

}  // namespace
}  // namespace segmentd
