"""Follow every way through a program that ends in acceptance, and keep what each demands of the packet.

A classic program only jumps forward, so its instructions are visited once, in order, each with all the states that
arrive there. Where ways meet again, states are merged:

- exactly, where nothing is lost by it: equal registers, and conditions that differ in one test only (`port == 53` and
  `port == 54` become `port in {53, 54}`; a test and its negation vanish), or one state covering the other;
- with a loss, where more states arrive than the budget allows: the two most similar become one, with the conditions
  they share. The state remembers which tests it has lost, so that nothing is called harmless for want of looking.

Thus a chain of 2,000 diamonds (2**2000 ways) takes 2,000 steps. The budget counts steps, not seconds: the same program
always gets the same answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isqrt

from beat_bridge.cbpf import domains, opcodes
from beat_bridge.cbpf.domains import NOT_ZERO, WORD, Domain
from beat_bridge.cbpf.evaluate import Packet, evaluate
from beat_bridge.cbpf.link import Link
from beat_bridge.cbpf.liveness import Liveness, analyse
from beat_bridge.cbpf.nodes import Node, Value
from beat_bridge.cbpf.solve import Known, Solver, imply, known_value
from beat_bridge.cbpf.states import State, gather
from beat_bridge.cbpf.terms import Terms, split_offset
from beat_bridge.model.filters import Instruction, Program

WORK = 32_000
"""Steps, about a microsecond each, after which the rest of a program is left unfollowed."""
MAX_STATES = 32
"""States kept apart at one instruction; fewer as the budget runs low, so that it lasts to the program's end."""
WORK_OF_INSTRUCTION = 3


@dataclass(frozen=True)
class Path:
    """One set of accepted packets: all that meet every condition."""

    conditions: Mapping[Node, Domain]
    known: Known
    """The bits of packet bytes that the conditions fix."""
    lost: frozenset[Node]
    """Tests that were given up on the way, so that the conditions are necessary but not sufficient; mostly none."""

    @property
    def exact(self) -> bool:
        """Every packet that meets the conditions is accepted."""
        return not self.lost and not any(node.opacity for node in self.conditions)

    def holds(self, packet: Packet) -> bool:
        """Whether a packet meets the conditions."""
        memory: dict[Node, int | None] = {}
        for node, domain in self.conditions.items():
            value = evaluate(node, packet, memory)
            if value is None or not domains.contains(domain, value):
                return False
        return True


@dataclass(frozen=True)
class Following:
    """What came of following a program."""

    paths: tuple[Path, ...]
    """Together they are all that is accepted, where `complete` and every path is exact."""
    complete: bool
    """The budget sufficed."""
    terms: Terms = field(repr=False)


def follow(program: Program, link: Link, budget: int = WORK) -> Following:
    """Follow a program that the kernel would attach.

    Args:
        program: Checked with `check.obstacle`.
        link: Where the packet begins.
        budget: Steps to spend.
    """
    return _Follower(program, link, budget).follow()


class _Follower:
    def __init__(self, program: Program, link: Link, budget: int) -> None:
        self.program = program
        self.link = link
        self.budget = budget
        self.terms = Terms()
        self.solver = Solver(self.terms)
        self.length = self.terms.metadata("len")
        self.liveness: Liveness = analyse(program)
        self.arrived: list[list[State]] = [[] for _ in program]
        self.accepted: list[State] = []
        self.exhausted = False
        accepting = (i for i in range(len(program) - 1, -1, -1) if program[i].code == opcodes.RET_K and program[i].k)
        self.acceptance = next(accepting, -1)
        """The last instruction that accepts unconditionally."""

    def follow(self) -> Following:
        self.arrived[0].append(State())
        for index, states in enumerate(self.arrived):
            if not states:
                continue
            if len(states) > 1:
                limit = self._limit(len(self.program) - index)
                states = gather(states, self.liveness.live[index], limit, self.terms)  # noqa: PLW2901
            self.arrived[index] = []
            for state in states:
                self._run(index, state)
        accepted = self._gather_accepted()
        paths = tuple(Path(state.conditions, state.known, state.lost) for state in accepted if self._consistent(state))
        return Following(paths, not self.exhausted, self.terms)

    def _limit(self, remaining: int) -> int:
        """How many states to keep apart, so that the budget lasts for the remaining instructions."""
        # n states cost about n * (n + 20) steps at one instruction: each is followed, and compared with the others
        share = max(0, self.budget - self.terms.work) // remaining
        return max(1, min(MAX_STATES, isqrt(share + 100) - 10))

    def _gather_accepted(self) -> list[State]:
        """The accepting states, merged; the rest of the budget may not suffice for all of them."""
        limit = self._limit(4)
        affordable = max(4, max(0, self.budget - self.terms.work) // (4 * limit))
        if len(self.accepted) > affordable:
            self.exhausted = True
        return gather(self.accepted[:affordable], 0, limit, self.terms)

    def _run(self, index: int, state: State) -> None:
        """Follow one state to the next place where ways part or meet."""
        program, terms = self.program, self.terms
        start = index
        while True:
            if index != start and self.liveness.meets[index]:
                self.arrived[index].append(state)
                return
            if terms.work > self.budget:
                self.exhausted = True
                return
            terms.work += WORK_OF_INSTRUCTION
            instruction = program[index]
            kind = instruction.code & 7
            if kind == opcodes.JMP:
                self._jump(index, instruction, state)
                return
            if kind == opcodes.RET:
                self._return(instruction, state)
                return
            following = self._step(instruction, state)
            if following is None:
                return
            state = following
            index += 1

    def _step(self, instruction: Instruction, state: State) -> State | None:
        """The state after an instruction that neither jumps nor returns; None where the packet is always dropped."""
        code, k = instruction.code, instruction.k
        kind = code & 7
        if kind == opcodes.LD or code == opcodes.LDX_MSH:
            return self._load(instruction, state)
        if kind == opcodes.LDX:
            value: Value = k if code == opcodes.LDX_IMM else self.length
            return state.with_x(state.cells[k] if code == opcodes.LDX_MEM else value)
        if kind == opcodes.ALU:
            return self._calculate(code, k, state)
        if code == opcodes.TAX:
            return state.with_x(state.a)
        if code == opcodes.TXA:
            return state.with_a(state.x)
        return state.with_cell(k, state.a if kind == opcodes.ST else state.x)

    # -- loads

    def _load(self, instruction: Instruction, state: State) -> State | None:  # noqa: PLR0911 - one return for each kind of load
        code, k = instruction.code, instruction.k
        if code in opcodes.LD_ABS:
            name = opcodes.ancillary_name(k)
            if name:
                return state.with_a(self._ancillary(name, state))
            return self._load_packet(state, None, k, opcodes.LD_ABS[code])
        if code in opcodes.LD_IND:
            x = self._settled(state, state.x)
            if isinstance(x, int):
                return self._load_packet(state, None, x + k & WORD, opcodes.LD_IND[code])
            base, offset = split_offset(self.terms, x)
            return self._load_packet(state, base, offset + k & WORD, opcodes.LD_IND[code])
        if code == opcodes.LDX_MSH:
            loaded = self._load_packet(state, None, k, 1)
            if loaded is None:
                return None
            length = self.terms.lsh(self.terms.and_(loaded.a, 0xF), 2)
            return loaded.with_a(state.a).with_x(length)
        if code == opcodes.LD_MEM:
            return state.with_a(state.cells[k])
        return state.with_a(self.length if code == opcodes.LD_LEN else k)

    def _ancillary(self, name: str, state: State) -> Value:
        if name == "xor_x":
            return self.terms.xor(state.a, state.x)
        if name in ("nla", "nlan"):  # a search through netlink attributes from A on, for type X
            return self.terms.opaque((state.a, state.x, self.terms.metadata(name)))
        return self.terms.metadata(name)

    def _load_packet(self, state: State, base: Node | None, place: int, width: int) -> State | None:
        """A := `width` bytes at base + place, with the condition that they are there."""
        offset = opcodes.signed(place)
        if base is None or offset + base.ones < 0:  # else X may lead out of the kernel's special areas
            offset = self.link.from_first_byte(offset)
        if base is None:
            if offset < 0:
                there = self._require(state, self.terms.loadable(place, width), ((1, 1),))
            else:
                there = self._long_enough(state, self.length, offset + width)
        elif base.ones <= 0xFFFFFF and 0 <= offset <= 0xFFFFFF:
            there = self._long_enough(state, self.terms.room(base), offset + width)
        else:
            there = self._require(state, self.terms.loadable(self.terms.add(base, place), width), ((1, 1),))
            offset = opcodes.signed(place)
        return there and there.with_a(self.terms.load(base, offset, width))

    def _long_enough(self, state: State, length: Node, least: int) -> State | None:
        """The state where a length is `least` or more: the test of every load, and from which no bits are learnt."""
        allowed = state.conditions.get(length, domains.EVERYTHING)
        self.terms.work += 2
        if allowed[0][0] >= least:
            return state
        if len(allowed) > 1 or allowed[0][1] < WORD:
            return self._require(state, length, ((least, WORD),))
        return state.with_condition(length, ((least, WORD),), state.known)

    def _settled(self, state: State, value: Value) -> Value:
        """The value, as a constant where the conditions leave it no choice."""
        if isinstance(value, int) or not state.known:
            return value
        mask, word = known_value(state.known, value)
        return word if mask & value.ones == value.ones else value

    # -- arithmetic

    def _calculate(self, code: int, k: int, state: State) -> State | None:
        if code == opcodes.NEG:
            return state.with_a(self.terms.neg(state.a))
        operator = opcodes.ARITHMETIC[code & 0xF0]
        operand = state.x if code & opcodes.FROM_X else k
        if operator in ("div", "mod"):
            if isinstance(operand, Node):
                nonzero = self._require(state, operand, NOT_ZERO)
                if nonzero is None:
                    return None
                state = nonzero
            elif operand == 0:
                return None
        combine = getattr(self.terms, operator if operator not in ("and", "or") else f"{operator}_")
        return state.with_a(combine(state.a, operand))

    # -- branches

    def _jump(self, index: int, instruction: Instruction, state: State) -> None:
        if instruction.code == opcodes.JA:
            if self.liveness.hopeful[index]:
                self.arrived[index + 1 + instruction.k].append(state)
            return
        taken, passed = index + 1 + instruction.jt, index + 1 + instruction.jf
        if taken == passed:
            if self.liveness.hopeful[taken]:
                self.arrived[taken].append(state)
            return
        hopeful = self.liveness.hopeful
        if not hopeful[taken] and not hopeful[passed]:
            return
        if instruction.code == opcodes.JEQ_K and self._is_rung(passed):
            self._descend(index, state)
            return
        value, domain = self._compared(instruction, state)
        yes, no = self._part(state, value, domain, hopeful[taken], hopeful[passed])
        if yes:
            self.arrived[taken].append(yes)
        if no:
            self.arrived[passed].append(no)

    def _is_rung(self, index: int) -> bool:
        """Whether an instruction compares, and nobody comes here but from the comparison before."""
        return self.program[index].code == opcodes.JEQ_K and not self.liveness.meets[index]

    def _descend(self, index: int, state: State) -> None:
        """Follow a ladder (is A this? else this? else this? ...) as one branch with many ways out."""
        words: dict[int, list[int]] = {}
        seen: set[int] = set()
        while True:
            instruction = self.program[index]
            self.terms.work += WORK_OF_INSTRUCTION
            if instruction.k not in seen:
                seen.add(instruction.k)
                words.setdefault(self._outcome(index + 1 + instruction.jt), []).append(instruction.k)
            index += 1 + instruction.jf
            if not self._is_rung(index):
                break
        for outcome, members in words.items():
            yes, _ = self._part(state, state.a, domains.of_points(members), self.liveness.hopeful[outcome], no=False)
            if yes:
                self.arrived[outcome].append(yes)
        _, no = self._part(state, state.a, domains.of_points(seen), yes=False, no=self.liveness.hopeful[index])
        if no:
            self.arrived[index].append(no)

    def _outcome(self, index: int) -> int:
        """The instruction, or the last of the program's that accepts unconditionally as this one does."""
        instruction = self.program[index]
        return self.acceptance if instruction.code == opcodes.RET_K and instruction.k else index

    def _compared(self, instruction: Instruction, state: State) -> tuple[Value, Domain]:  # noqa: PLR0911 - one return for each kind of test
        """A conditional jump as a word and the set of its values for which the jump is taken."""
        operator = opcodes.COMPARISONS[instruction.code & 0xF0]
        left: Value = state.a
        operand = self._settled(state, state.x) if instruction.code & opcodes.FROM_X else instruction.k
        if isinstance(operand, int):
            if operator == "jset":
                return self.terms.and_(left, operand), NOT_ZERO
            lowest = {"jeq": operand, "jge": operand, "jgt": operand + 1}[operator]
            highest = operand if operator == "jeq" else WORD
            return left, ((lowest, highest),) if lowest <= highest else domains.NOTHING
        if operator == "jset":
            return self.terms.and_(left, operand), NOT_ZERO
        if operator == "jeq":
            return self.terms.difference(left, operand), domains.ZERO
        if isinstance(left, int):  # the constant is on the left: turn the question around
            highest = left if operator == "jge" else left - 1
            return operand, domains.below(highest) if highest >= 0 else domains.NOTHING
        if operator == "jgt":
            return self.terms.greater(left, operand), ((1, 1),)
        return self.terms.greater(operand, left), domains.ZERO

    def _return(self, instruction: Instruction, state: State) -> None:
        if instruction.code == opcodes.RET_A:
            accepting = self._require(state, state.a, NOT_ZERO)
        else:
            accepting = state if instruction.k else None
        if accepting:
            self.accepted.append(accepting.ended())

    def _require(self, state: State, value: Value, domain: Domain) -> State | None:
        return self._part(state, value, domain, yes=True, no=False)[0]

    def _part(
        self, state: State, value: Value, domain: Domain, yes: bool, no: bool
    ) -> tuple[State | None, State | None]:
        """The state where the value is in the domain, and where it is not; None for what cannot be or is not asked."""
        if isinstance(value, int):
            return (state if yes else None, None) if domains.contains(domain, value) else (None, state if no else None)
        node, members = self.solver.canonical(value, domain)
        allowed = state.conditions.get(node)
        if allowed is None:
            allowed = domains.below(node.ones)
        if state.known:
            allowed = _narrowed(allowed, state.known, node)
        inside = domains.intersection(allowed, members)
        self.terms.work += 1 + len(members) + (len(allowed) >> 3)
        if inside == allowed:
            return state if yes else None, None
        if not inside:
            return None, state if no else None
        return (
            self._learn(state, node, inside) if yes else None,
            self._learn(state, node, domains.difference(allowed, members)) if no else None,
        )

    def _learn(self, state: State, node: Node, domain: Domain) -> State | None:
        """The state with one more condition, and with the bits that it fixes; None where they contradict."""
        known: Known | None = state.known
        mask, value = domains.common_bits(domain)
        if mask & node.ones:
            known = imply(state.known, node, mask & node.ones, value)
            self.terms.work += 2
        if known is None:
            return None
        self.terms.work += len(state.conditions) + len(known) >> 4
        return state.with_condition(node, domain, known)

    def _consistent(self, state: State) -> bool:
        """Whether each condition can still hold, now that all the bits are known that any of them fixes."""
        return all(_narrowed(domain, state.known, node) for node, domain in state.conditions.items())


def _narrowed(domain: Domain, known: Known, node: Node) -> Domain:
    """What of a domain is left by the bits that are known of a node."""
    mask, value = known_value(known, node)
    if not mask & node.ones:
        return domain
    return domains.intersection(domain, ((value, value | ~mask & node.ones),))
