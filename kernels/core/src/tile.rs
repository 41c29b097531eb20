//! Whole circuits over ciphertext words `[unit, poly, limb, n]`, a tile of coordinates at a time.
//!
//! Every node acts on each coordinate `n` of each limb alone, so a tile of a few dozen coordinates
//! goes through the whole circuit while it is in the cache, and only the tensors that were asked for
//! are ever stored. Inside a tile, words are laid out `[group of lanes][poly][unit][lane]`: a row of
//! an affine node then reads consecutive lines of the cache.
//!
//! Nothing depends on the values of the weights of affine nodes but the words themselves; the
//! coefficients of powers and the factors are public and may be skipped when they are 0 or 1.

mod affine;
mod product;

use rayon::prelude::*;

use crate::modulus::{Modulus, Shoup};
use crate::vectorised;

pub use affine::{MAX_ROW_NORM, Rows};
pub use product::MAX_POLYS;

/// The largest degree of [`Program::power`].
pub const MAX_DEGREE: usize = 4;

/// Coordinates that are processed together in registers.
const LANES: usize = 8;

type Lanes = [u64; LANES];

/// Coordinates in one tile, unless the tensors of the circuit are too large for that.
const MAX_TILE: usize = 128;
const MIN_TILE: usize = 16;

/// Bytes of tensors alive at a time that leave room for weights in the second cache.
const TILE_BYTES: usize = 1 << 18;

/// Number of ciphertexts, and of polynomials in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Ciphertexts.
    pub units: usize,
    /// Polynomials per ciphertext.
    pub polys: usize,
}

impl Shape {
    fn planes(self) -> usize {
        self.units * self.polys
    }
}

/// One group of lanes of a tensor, `[poly][unit]`.
#[derive(Clone, Copy)]
struct Group<'a> {
    words: &'a [Lanes],
    shape: Shape,
}

impl Group<'_> {
    #[inline(always)]
    fn words(&self, poly: usize, unit: usize) -> Lanes {
        self.words[poly * self.shape.units + unit]
    }

    #[inline(always)]
    fn read(&self, unit: usize, words: &mut [Lanes]) {
        for (poly, words) in words.iter_mut().take(self.shape.polys).enumerate() {
            *words = self.words(poly, unit);
        }
    }
}

/// One group of lanes of the tensor being computed, `[poly][unit]`.
struct GroupMut<'a> {
    words: &'a mut [Lanes],
    shape: Shape,
}

impl GroupMut<'_> {
    #[inline(always)]
    fn words(&mut self, poly: usize, unit: usize) -> &mut Lanes {
        &mut self.words[poly * self.shape.units + unit]
    }

    /// Writes `constants[unit]` into the first polynomial and zero into the others.
    #[inline(always)]
    fn fill(&mut self, constants: &[u64]) {
        let (first, others) = self.words.split_at_mut(self.shape.units);
        for (words, &constant) in first.iter_mut().zip(constants) {
            *words = [constant; LANES];
        }
        others.fill([0; LANES]);
    }

    /// Writes a constant into the first polynomial and zero into the others.
    #[inline(always)]
    fn fill_constant(&mut self, constant: u64) {
        let (first, others) = self.words.split_at_mut(self.shape.units);
        first.fill([constant; LANES]);
        others.fill([0; LANES]);
    }
}

/// What computes a tensor from earlier ones.
#[derive(Clone, Debug)]
enum Node {
    /// The argument of the program.
    Input,
    /// Sparse matrices times tensors, plus a constant for each unit: `bias` is `[limb][unit]`.
    Affine {
        terms: Vec<affine::Term>,
        bias: Vec<u64>,
    },
    Square(usize),
    Product(usize, usize),
    /// `sum_i factor_i x_i + constant`, factors and constant per limb.
    Combination {
        terms: Vec<(usize, Vec<Shoup>)>,
        constant: Vec<u64>,
    },
}

impl Node {
    fn sources(&self) -> Vec<usize> {
        match self {
            Self::Input => vec![],
            Self::Affine { terms, .. } => terms.iter().map(|term| term.source).collect(),
            Self::Square(source) => vec![*source],
            Self::Product(left, right) => vec![*left, *right],
            Self::Combination { terms, .. } => terms.iter().map(|&(source, _)| source).collect(),
        }
    }
}

/// One term of [`Program::affine`].
#[derive(Clone, Copy, Debug)]
pub struct AffineTerm<'a> {
    /// Tensor that is multiplied.
    pub source: usize,
    /// The matrix.
    pub rows: Rows<'a>,
    /// Residue that multiplies the whole term, per limb.
    pub factors: &'a [u64],
}

/// A circuit: tensor 0 is the input, every call appends a node and returns the number of its tensor.
///
/// Arguments are checked by the caller: sources exist, residues are canonical, matrices fit.
#[derive(Clone, Debug)]
pub struct Program {
    moduli: Vec<Modulus>,
    nodes: Vec<Node>,
    shapes: Vec<Shape>,
    /// The node behind each tensor: powers take several nodes.
    tensors: Vec<usize>,
}

impl Program {
    /// The empty circuit over ciphertexts of shape `input`.
    #[must_use]
    pub fn new(moduli: Vec<Modulus>, input: Shape) -> Self {
        Self {
            moduli,
            nodes: vec![Node::Input],
            shapes: vec![input],
            tensors: vec![0],
        }
    }

    /// One modulus per limb.
    #[must_use]
    pub fn moduli(&self) -> &[Modulus] {
        &self.moduli
    }

    /// The shape of a tensor, if it exists.
    #[must_use]
    pub fn shape(&self, tensor: usize) -> Option<Shape> {
        self.tensors.get(tensor).map(|&node| self.shapes[node])
    }

    /// `out_j = sum_terms factor sum_e w_e x_e + bias_j`; `bias`, `[limb][unit]`, enters the first
    /// polynomial. At least one term; the size is the largest of the sources.
    pub fn affine(
        &mut self,
        units: usize,
        terms: &[AffineTerm<'_>],
        bias: Option<&[u64]>,
    ) -> usize {
        let polys = terms
            .iter()
            .map(|term| self.shapes[self.tensors[term.source]].polys);
        let shape = Shape {
            units,
            polys: polys.max().unwrap_or(1),
        };
        let terms = terms.iter().map(|term| {
            let source = self.tensors[term.source];
            affine::Term::new(&self.moduli, source, term.rows, term.factors)
        });
        let node = Node::Affine {
            terms: terms.collect(),
            bias: bias.map_or_else(|| vec![0; self.moduli.len() * units], <[u64]>::to_vec),
        };
        self.append_tensor(node, shape)
    }

    /// `sum_i coefficients[i] x^i`, coefficients `[limb][degree + 1]`, the degree between 1 and
    /// [`MAX_DEGREE`]; the constant enters the first polynomial.
    pub fn power(&mut self, source: usize, coefficients: &[u64]) -> usize {
        let source = self.tensors[source];
        let width = coefficients.len() / self.moduli.len();
        let columns: Vec<Vec<u64>> = (0..width)
            .map(|i| {
                coefficients
                    .iter()
                    .skip(i)
                    .step_by(width)
                    .copied()
                    .collect()
            })
            .collect();
        let is = |i: usize, word: u64| columns[i].iter().all(|&coefficient| coefficient == word);
        let skipped: Vec<bool> = (0..width).map(|i| is(i, 0)).collect();
        let bare = skipped[..width - 1].iter().all(|&skip| skip) && is(width - 1, 1);
        let mut powers = vec![(1, source)];
        if width > 2 {
            let square = self.square(source);
            powers.push((2, square));
            if width > 3 && !skipped[3] {
                powers.push((3, self.append_product(square, source)));
            }
            if width > 4 {
                powers.push((4, self.square(square)));
            }
        }
        if bare {
            self.tensors.push(powers[powers.len() - 1].1);
            return self.tensors.len() - 1;
        }
        let terms = powers
            .into_iter()
            .filter(|&(i, _)| !skipped[i])
            .map(|(i, node)| {
                let factors = self.moduli.iter().zip(&columns[i]);
                (
                    node,
                    factors
                        .map(|(modulus, &word)| modulus.shoup(word))
                        .collect(),
                )
            })
            .collect();
        let constant = columns[0].clone();
        // The size follows from the degree, even where the leading coefficient vanishes.
        let Shape { units, polys } = self.shapes[source];
        let polys = (width - 1) * (polys - 1) + 1;
        let shape = Shape { units, polys };
        self.append_tensor(Node::Combination { terms, constant }, shape)
    }

    /// The product of two tensors of as many units, unit by unit.
    pub fn product(&mut self, left: usize, right: usize) -> usize {
        let node = self.append_product(self.tensors[left], self.tensors[right]);
        self.tensors.push(node);
        self.tensors.len() - 1
    }

    fn square(&mut self, source: usize) -> usize {
        let Shape { units, polys } = self.shapes[source];
        let polys = 2 * polys - 1;
        self.append(Node::Square(source), Shape { units, polys })
    }

    fn append_product(&mut self, left: usize, right: usize) -> usize {
        let Shape { units, polys } = self.shapes[left];
        let polys = polys + self.shapes[right].polys - 1;
        self.append(Node::Product(left, right), Shape { units, polys })
    }

    fn append_tensor(&mut self, node: Node, shape: Shape) -> usize {
        let node = self.append(node, shape);
        self.tensors.push(node);
        self.tensors.len() - 1
    }

    fn append(&mut self, node: Node, shape: Shape) -> usize {
        self.nodes.push(node);
        self.shapes.push(shape);
        self.nodes.len() - 1
    }

    /// Runs the circuit on `words`, `[unit, poly, limb, n]`, and writes each tensor of `keep` to its
    /// slice of `out` in the same layout. Words are checked in the same pass.
    ///
    /// # Errors
    /// A word is not canonical; some of `out` is written.
    pub fn run(
        &self,
        words: &[u64],
        n: usize,
        keep: &[usize],
        out: &mut [&mut [u64]],
    ) -> Result<(), NotCanonical> {
        let keep: Vec<usize> = keep.iter().map(|&tensor| self.tensors[tensor]).collect();
        let plan = Plan::new(self, &keep);
        let limbs = self.moduli.len();
        tasks(out, limbs, n, plan.width)
            .into_par_iter()
            .try_for_each_init(
                || plan.scratch(),
                |scratch, mut task| self.run_tile(&plan, scratch, words, n, &mut task),
            )
    }

    fn run_tile(
        &self,
        plan: &Plan,
        scratch: &mut [Vec<Lanes>],
        words: &[u64],
        n: usize,
        task: &mut Task<'_>,
    ) -> Result<(), NotCanonical> {
        let width = plan.width.min(n - task.start);
        let groups = width.div_ceil(LANES);
        for &node in &plan.order {
            // Taken out, because the node reads other tensors of the scratch space.
            let slot = plan.slots[node];
            let mut out = std::mem::take(&mut scratch[slot]);
            if let Node::Input = self.nodes[node] {
                vectorised(
                    #[inline(always)]
                    || self.load(words, n, (task.limb, task.start, width), &mut out),
                )?;
            } else {
                self.compute(plan, scratch, (node, task.limb, groups), &mut out);
            }
            scratch[slot] = out;
            for &(kept, _) in plan.kept.iter().filter(|&&(_, kept)| kept == node) {
                self.store(node, &scratch[slot], &mut task.pieces[kept]);
            }
        }
        Ok(())
    }

    /// Copies one tile of the argument, filling the last group of lanes up with zeros.
    #[inline(always)]
    fn load(
        &self,
        words: &[u64],
        n: usize,
        (limb, start, width): (usize, usize, usize),
        out: &mut [Lanes],
    ) -> Result<(), NotCanonical> {
        let shape = self.shapes[0];
        for (plane, words) in words.chunks_exact(self.moduli.len() * n).enumerate() {
            let words = &words[limb * n + start..][..width];
            if !self.moduli[limb].is_canonical_inline(words) {
                return Err(NotCanonical);
            }
            let (unit, poly) = (plane / shape.polys, plane % shape.polys);
            let groups = out.chunks_exact_mut(shape.planes());
            for (group, words) in groups.zip(words.chunks(LANES)) {
                let lanes = &mut group[poly * shape.units + unit];
                let (present, absent) = lanes.split_at_mut(words.len());
                present.copy_from_slice(words);
                absent.fill(0);
            }
        }
        Ok(())
    }

    /// Copies one tile of a tensor to its pieces, one for each (unit, poly).
    #[inline(always)]
    fn store(&self, node: usize, tile: &[Lanes], pieces: &mut [&mut [u64]]) {
        let shape = self.shapes[node];
        for (plane, piece) in pieces.iter_mut().enumerate() {
            let (unit, poly) = (plane / shape.polys, plane % shape.polys);
            let groups = tile.chunks_exact(shape.planes());
            for (words, group) in piece.chunks_mut(LANES).zip(groups) {
                words.copy_from_slice(&group[poly * shape.units + unit][..words.len()]);
            }
        }
    }

    /// Computes one tile of one node.
    fn compute(
        &self,
        plan: &Plan,
        scratch: &[Vec<Lanes>],
        (node, limb, groups): (usize, usize, usize),
        out: &mut [Lanes],
    ) {
        let modulus = self.moduli[limb];
        let shape = self.shapes[node];
        let source = |node: usize, group: usize| {
            let shape = self.shapes[node];
            let words = &scratch[plan.slots[node]][group * shape.planes()..][..shape.planes()];
            Group { words, shape }
        };
        let outputs = out.chunks_exact_mut(shape.planes()).take(groups);
        let outputs = outputs.map(|words| GroupMut { words, shape }).enumerate();
        // One dispatch for each kind of node: the compiler does better on small functions.
        match &self.nodes[node] {
            Node::Input => {}
            Node::Affine { terms, bias } => vectorised(
                #[inline(always)]
                || {
                    for (group, mut out) in outputs {
                        out.fill(&bias[limb * shape.units..][..shape.units]);
                        for term in terms {
                            term.add_to(&modulus, limb, source(term.source, group), &mut out);
                        }
                    }
                },
            ),
            Node::Square(operand) => vectorised(
                #[inline(always)]
                || {
                    for (group, out) in outputs {
                        product::square(modulus, source(*operand, group), out);
                    }
                },
            ),
            Node::Product(left, right) => vectorised(
                #[inline(always)]
                || {
                    for (group, out) in outputs {
                        product::multiply(
                            modulus,
                            source(*left, group),
                            source(*right, group),
                            out,
                        );
                    }
                },
            ),
            Node::Combination { terms, constant } => vectorised(
                #[inline(always)]
                || {
                    for (group, mut out) in outputs {
                        out.fill_constant(constant[limb]);
                        for (operand, factors) in terms {
                            let source = source(*operand, group);
                            product::add_scaled(modulus, factors[limb], source, &mut out);
                        }
                    }
                },
            ),
        }
    }
}

/// A word of the argument is not below the modulus of its limb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCanonical;

/// The order of computation and where tensors live inside a tile.
struct Plan {
    /// Nodes to compute, ascending.
    order: Vec<usize>,
    /// The slot of each node of `order`; a slot is used again after the last reader of its tensor.
    slots: Vec<usize>,
    /// Planes of the largest tensor of each slot.
    capacities: Vec<usize>,
    /// Index among the results and node, for each result.
    kept: Vec<(usize, usize)>,
    /// Coordinates per tile.
    width: usize,
}

impl Plan {
    fn new(program: &Program, keep: &[usize]) -> Self {
        let count = program.nodes.len();
        // The input is always read: its words are checked on the way.
        let mut last_reader: Vec<Option<usize>> = vec![None; count];
        last_reader[0] = Some(0);
        for &node in keep {
            last_reader[node] = Some(node);
        }
        for node in (0..count).rev() {
            if last_reader[node].is_some() {
                for source in program.nodes[node].sources() {
                    last_reader[source] = last_reader[source].max(Some(node));
                }
            }
        }
        let order: Vec<usize> = (0..count)
            .filter(|&node| last_reader[node].is_some())
            .collect();
        let mut slots = vec![usize::MAX; count];
        let mut capacities: Vec<usize> = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        for &node in &order {
            let planes = program.shapes[node].planes();
            // The smallest slot that fits, else the largest there is, which grows.
            let fits = |&&slot: &&usize| capacities[slot] >= planes;
            let best = free
                .iter()
                .filter(fits)
                .min_by_key(|&&slot| capacities[slot]);
            let slot = best
                .or_else(|| free.iter().max_by_key(|&&slot| capacities[slot]))
                .copied();
            let slot = slot.unwrap_or_else(|| {
                capacities.push(0);
                capacities.len() - 1
            });
            capacities[slot] = capacities[slot].max(planes);
            slots[node] = slot;
            free.retain(|&other| other != slot);
            // Released only now: a node never writes over what it reads.
            let done = order
                .iter()
                .filter(|&&done| last_reader[done] == Some(node));
            free.extend(done.map(|&done| slots[done]));
        }
        let group_bytes = capacities.iter().sum::<usize>() * size_of::<Lanes>();
        let groups = (TILE_BYTES / group_bytes.max(1)).clamp(MIN_TILE / LANES, MAX_TILE / LANES);
        Self {
            order,
            slots,
            capacities,
            kept: keep.iter().copied().enumerate().collect(),
            width: groups * LANES,
        }
    }

    fn scratch(&self) -> Vec<Vec<Lanes>> {
        let groups = self.width / LANES;
        let sizes = self.capacities.iter().map(|planes| planes * groups);
        sizes.map(|size| vec![[0; LANES]; size]).collect()
    }
}

/// One tile of one limb, with its pieces of every result: `pieces[result][unit * polys + poly]`.
struct Task<'a> {
    limb: usize,
    start: usize,
    pieces: Vec<Vec<&'a mut [u64]>>,
}

/// Cuts results `[unit, poly, limb, n]` into tasks of `width` coordinates of one limb.
fn tasks<'a>(kept: &'a mut [&mut [u64]], limbs: usize, n: usize, width: usize) -> Vec<Task<'a>> {
    let per_limb = n.div_ceil(width);
    let mut tasks: Vec<Task<'a>> = (0..limbs * per_limb)
        .map(|task| Task {
            limb: task / per_limb,
            start: task % per_limb * width,
            pieces: kept.iter().map(|_| Vec::new()).collect(),
        })
        .collect();
    for (result, words) in kept.iter_mut().enumerate() {
        let planes = words.chunks_exact_mut(n.max(1));
        for (plane, words) in planes.enumerate() {
            let first = plane % limbs * per_limb;
            for (task, piece) in tasks[first..].iter_mut().zip(words.chunks_mut(width)) {
                task.pieces[result].push(piece);
            }
        }
    }
    tasks
}
